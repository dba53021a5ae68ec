//! Reading a JSON object field by field, so that each complaint can name the field it is about.
//!
//! Values stay raw text until a reader with a type asks for them. Passing over a value does not
//! recurse, and no reader goes deeper than this protocol does, so nesting cannot exhaust the stack.

use alloc::borrow::ToOwned;
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::reason::ErrorCode;

/// The most characters of a client's own text that an error message repeats.
const SHOWN_CHARS_MAX: usize = 64;

/// What is wrong with a request.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) code: ErrorCode,
    pub(super) message: String,
}

impl Fault {
    pub(super) fn new(code: ErrorCode, message: String) -> Self {
        Self { code, message }
    }

    /// A request whose form is wrong.
    pub(super) fn form(message: String) -> Self {
        Self::new(ErrorCode::InvalidRequest, message)
    }
}

/// A text as error messages show it: at most 64 characters.
pub(super) fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

/// The members of an object in the order in which they came, duplicates included.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;

        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Collect)
    }
}

/// The fields of one object. Take those that are known, then [`Self::finish`].
pub(super) struct Fields<'a> {
    /// Where the object is: empty, or the path of its field.
    path: String,
    members: Vec<(String, &'a RawValue)>,
}

/// A field that was taken: its path and its value.
pub(super) struct Field<'a> {
    path: String,
    raw: &'a RawValue,
}

impl<'a> Fields<'a> {
    /// The fields of the object `raw`, which stands at `path` (empty: the message itself). Not checked
    /// for duplicates.
    pub(super) fn read(path: &str, raw: &'a RawValue) -> Result<Self, Fault> {
        let what = if path.is_empty() { "the message" } else { path };
        let fault = |wish| Fault::form(format!("{what} must be {wish}"));
        if !raw.get().starts_with('{') {
            return Err(fault("an object"));
        }
        // What is JSON and begins as an object can only fail in a key with half a surrogate pair.
        let Members(members) = serde_json::from_str(raw.get())
            .map_err(|_| fault("an object whose keys are valid Unicode"))?;
        Ok(Self {
            path: path.to_owned(),
            members,
        })
    }

    /// The path of the field `name` of this object.
    fn path_of(&self, name: &str) -> String {
        let name = shown(name);
        if self.path.is_empty() {
            name
        } else {
            format!("{}.{name}", self.path)
        }
    }

    /// Refuses an object that has the same field twice.
    pub(super) fn check_unique(&self) -> Result<(), Fault> {
        let mut seen = BTreeSet::new();
        match self.members.iter().find(|(name, _)| !seen.insert(name)) {
            None => Ok(()),
            Some((name, _)) => Err(Fault::form(format!(
                "{} is given twice",
                self.path_of(name)
            ))),
        }
    }

    /// The field `name`, if it is given exactly once; it stays.
    pub(super) fn peek_single(&self, name: &str) -> Option<Field<'a>> {
        let mut found = self.members.iter().filter(|(key, _)| key == name);
        match (found.next(), found.next()) {
            (Some((_, raw)), None) => Some(self.field(name, raw)),
            _ => None,
        }
    }

    /// Takes the field `name`, if it is given.
    pub(super) fn take(&mut self, name: &str) -> Option<Field<'a>> {
        let at = self.members.iter().position(|(key, _)| key == name)?;
        let (_, raw) = self.members.remove(at);
        Some(self.field(name, raw))
    }

    /// Takes the field `name`, which must be given.
    pub(super) fn require(&mut self, name: &str) -> Result<Field<'a>, Fault> {
        self.take(name)
            .ok_or_else(|| Fault::form(format!("{} is missing", self.path_of(name))))
    }

    /// Takes all the fields that are left, each with its name.
    pub(super) fn take_all(mut self) -> impl Iterator<Item = (String, Field<'a>)> {
        let members = core::mem::take(&mut self.members);
        members.into_iter().map(move |(name, raw)| {
            let field = self.field(&name, raw);
            (name, field)
        })
    }

    /// Refuses what was not taken.
    pub(super) fn finish(self) -> Result<(), Fault> {
        match self.members.first() {
            None => Ok(()),
            Some((name, _)) => Err(Fault::form(format!(
                "{} is not a field of this message",
                self.path_of(name)
            ))),
        }
    }

    fn field(&self, name: &str, raw: &'a RawValue) -> Field<'a> {
        Field {
            path: self.path_of(name),
            raw,
        }
    }
}

impl<'a> Field<'a> {
    /// The value as JSON text.
    pub(super) fn json(&self) -> &'a str {
        self.raw.get()
    }

    /// A complaint about this field: what it must be.
    pub(super) fn must(&self, wish: &str) -> Fault {
        Fault::form(format!("{} must be {wish}", self.path))
    }

    /// An object, without duplicates.
    pub(super) fn object(&self) -> Result<Fields<'a>, Fault> {
        let fields = Fields::read(&self.path, self.raw)?;
        fields.check_unique()?;
        Ok(fields)
    }

    pub(super) fn boolean(&self) -> Result<bool, Fault> {
        self.typed("true or false")
    }

    pub(super) fn string(&self) -> Result<String, Fault> {
        self.typed("a string")
    }

    pub(super) fn strings(&self) -> Result<Vec<String>, Fault> {
        self.typed("a list of strings")
    }

    pub(super) fn number(&self) -> Result<u64, Fault> {
        self.typed("a whole number from 0 to 18446744073709551615")
    }

    fn typed<T: Deserialize<'a>>(&self, wish: &str) -> Result<T, Fault> {
        serde_json::from_str(self.raw.get()).map_err(|_| self.must(wish))
    }
}
