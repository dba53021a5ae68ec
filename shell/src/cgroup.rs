//! Placeholder of the contract; filled by its own change.
