//! The tree that finds the patterns of a new channel.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::PatternIx;

/// One token's worth of the tree that finds the patterns of a new channel.
#[derive(Debug, Default)]
pub(super) struct Node {
    tokens: BTreeMap<Box<str>, Node>,
    any: Option<Box<Node>>,
    /// The pattern that ends here.
    here: Option<PatternIx>,
    /// The pattern that ends with `>` after this.
    rest: Option<PatternIx>,
}

impl Node {
    /// Notes the pattern, or forgets it.
    pub(super) fn set(&mut self, pattern: &str, ix: Option<PatternIx>) {
        let (token, rest) = split_token(pattern);
        if token == ">" {
            self.rest = ix;
            return;
        }
        let child = if token == "*" {
            self.any.get_or_insert_default().as_mut()
        } else {
            self.tokens.entry(token.into()).or_default()
        };
        match rest {
            Some(rest) => child.set(rest, ix),
            None => child.here = ix,
        }
        if child.is_empty() {
            if token == "*" {
                self.any = None;
            } else {
                self.tokens.remove(token);
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.tokens.is_empty() && self.any.is_none() && self.here.is_none() && self.rest.is_none()
    }

    /// Appends the patterns that match a channel, in no order.
    pub(super) fn find(&self, channel: &str, found: &mut Vec<PatternIx>) {
        found.extend(self.rest);
        let (token, rest) = split_token(channel);
        for child in [self.tokens.get(token), self.any.as_deref()]
            .into_iter()
            .flatten()
        {
            match rest {
                Some(rest) => child.find(rest, found),
                None => found.extend(child.here),
            }
        }
    }
}

fn split_token(text: &str) -> (&str, Option<&str>) {
    match text.split_once('.') {
        Some((token, rest)) => (token, Some(rest)),
        None => (text, None),
    }
}
