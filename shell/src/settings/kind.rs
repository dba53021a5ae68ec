//! What each kind of value accepts, and how it is shown. Every source of settings gives text, so a
//! flag, a variable and a key of the file accept exactly the same.

use std::fmt::Display;
use std::marker::PhantomData;

use super::value::Choice;

/// A kind of value.
pub(super) trait Kind {
    /// What it becomes.
    type Value;

    /// Whether values are lists, so that the file may give an array.
    const LIST: bool = false;

    /// Whether values must not be repeated in messages.
    const SECRET: bool = false;

    /// What is accepted, for messages: "a whole number from 0 to 100".
    fn accepts(&self) -> String;

    /// The value of `text`, or `None` if it is not accepted.
    fn parse(&self, text: &str) -> Option<Self::Value>;

    /// The value where nothing was given and there is no default; `None`: an empty text is parsed.
    fn unset(&self) -> Option<Self::Value> {
        None
    }

    /// The value in TOML; `None`: it is not set.
    fn show(&self, value: &Self::Value) -> Option<String>;
}

/// `text` as a TOML string.
pub(super) fn quoted(text: impl Display) -> Option<String> {
    Some(toml::Value::String(text.to_string()).to_string())
}

/// The word `auto`, or a value.
pub(super) struct Auto<K>(pub(super) K);

impl<K: Kind> Kind for Auto<K> {
    type Value = Option<K::Value>;

    fn accepts(&self) -> String {
        format!("auto, or {}", self.0.accepts())
    }

    fn parse(&self, text: &str) -> Option<Self::Value> {
        match text {
            "auto" => Some(None),
            text => self.0.parse(text).map(Some),
        }
    }

    fn show(&self, value: &Self::Value) -> Option<String> {
        match value {
            None => quoted("auto"),
            Some(value) => self.0.show(value),
        }
    }
}

/// A value that may be left unset, which is what the empty default means.
pub(super) struct Maybe<K>(pub(super) K);

impl<K: Kind> Kind for Maybe<K> {
    type Value = Option<K::Value>;
    const SECRET: bool = K::SECRET;

    fn accepts(&self) -> String {
        self.0.accepts()
    }

    fn parse(&self, text: &str) -> Option<Self::Value> {
        self.0.parse(text).map(Some)
    }

    fn unset(&self) -> Option<Self::Value> {
        Some(None)
    }

    fn show(&self, value: &Self::Value) -> Option<String> {
        value.as_ref().and_then(|value| self.0.show(value))
    }
}

/// Values separated by commas, or an array in the file.
pub(super) struct List<K>(pub(super) K);

impl<K: Kind> Kind for List<K> {
    type Value = Vec<K::Value>;
    const LIST: bool = true;

    fn accepts(&self) -> String {
        format!("values separated by commas, each {}", self.0.accepts())
    }

    fn parse(&self, text: &str) -> Option<Self::Value> {
        if text.trim().is_empty() {
            return Some(Vec::new());
        }
        text.split(',')
            .map(|item| self.0.parse(item.trim()))
            .collect()
    }

    fn show(&self, value: &Self::Value) -> Option<String> {
        let items: Vec<String> = value.iter().filter_map(|item| self.0.show(item)).collect();
        Some(format!("[{}]", items.join(", ")))
    }
}

/// True or false.
pub(super) struct Switch;

impl Kind for Switch {
    type Value = bool;

    fn accepts(&self) -> String {
        "true or false".to_owned()
    }

    fn parse(&self, text: &str) -> Option<bool> {
        text.parse().ok()
    }

    fn show(&self, value: &bool) -> Option<String> {
        Some(value.to_string())
    }
}

/// One of the names of an enum.
pub(super) struct OneOf<T>(PhantomData<T>);

impl<T> OneOf<T> {
    pub(super) const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T: Choice> Kind for OneOf<T> {
    type Value = T;

    fn accepts(&self) -> String {
        let names: Vec<&str> = T::ALL.iter().map(|(name, _)| *name).collect();
        format!("one of {}", names.join(", "))
    }

    fn parse(&self, text: &str) -> Option<T> {
        T::ALL
            .iter()
            .find(|(name, _)| *name == text)
            .map(|(_, value)| *value)
    }

    fn show(&self, value: &T) -> Option<String> {
        T::ALL
            .iter()
            .find(|(_, other)| other == value)
            .and_then(|(name, _)| quoted(name))
    }
}
