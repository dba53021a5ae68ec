//! Panics in tasks: tokio swallows them, so they are counted where they happen.

use std::cell::RefCell;
use std::sync::Once;

thread_local! {
    static FIRST: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// From now on panics of this thread are noted. What was noted before is forgotten.
pub(super) fn count_from_now_on() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let shown = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            FIRST.with_borrow_mut(|first| {
                first.get_or_insert_with(|| panic.to_string());
            });
            shown(panic);
        }));
    });
    FIRST.set(None);
}

/// The first panic of this thread, in words.
pub(super) fn first() -> Option<String> {
    FIRST.with_borrow(Clone::clone)
}
