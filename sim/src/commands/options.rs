//! The options of a command: `--name value`, `--flag`, and words.

use std::collections::BTreeMap;

/// Options as they were given.
#[derive(Clone, Debug)]
pub struct Options {
    words: Vec<String>,
    values: BTreeMap<String, String>,
    flags: Vec<String>,
}

impl Options {
    /// Reads the words of a command line. `valued` are the options that take a value, `flags` those that
    /// take none.
    ///
    /// # Errors
    /// An option that is neither, or one without its value.
    pub fn read(words: &[String], valued: &[&str], flags: &[&str]) -> Result<Self, String> {
        let mut read = Self {
            words: Vec::new(),
            values: BTreeMap::new(),
            flags: Vec::new(),
        };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let Some(name) = word.strip_prefix("--") else {
                read.words.push(word.clone());
                continue;
            };
            if flags.contains(&name) {
                read.flags.push(name.into());
            } else if valued.contains(&name) {
                let value = words
                    .next()
                    .ok_or_else(|| format!("--{name} needs a value"))?;
                read.values.insert(name.into(), value.clone());
            } else {
                return Err(format!("there is no option --{name} here"));
            }
        }
        Ok(read)
    }

    /// The words that are no options.
    #[must_use]
    pub fn words(&self) -> &[String] {
        &self.words
    }

    /// The only word that is no option.
    ///
    /// # Errors
    /// When there is none, or more than one.
    pub fn only(&self) -> Result<&str, String> {
        match self.words.as_slice() {
            [word] => Ok(word),
            other => Err(format!("one name is needed, and there are {}", other.len())),
        }
    }

    /// Whether a flag was given.
    #[must_use]
    pub fn has(&self, flag: &str) -> bool {
        self.flags.iter().any(|given| given == flag)
    }

    /// The value of an option.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// The value of an option as a number.
    ///
    /// # Errors
    /// When it is none.
    pub fn number(&self, name: &str, default: u64) -> Result<u64, String> {
        match self.value(name) {
            None => Ok(default),
            Some(text) => text
                .parse()
                .map_err(|_| format!("--{name} {text} is no number")),
        }
    }
}
