//! Replays a committed corpus in an ordinary test.

use std::fs;
use std::path::Path;

/// Gives each file of `fuzz/corpus/TARGET` to a property, which says what became of it: the part of the
/// file's name before the first dot. Files without an ending are the fuzzer's own and not committed.
pub(crate) fn replay(target: &str, property: impl Fn(&[u8]) -> String) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    let (mut replayed, mut bytes_in_all, mut wrong) = (0, 0, Vec::new());
    for entry in fs::read_dir(corpus.join(target)).expect("the corpus is there") {
        let path = entry.expect("it can be listed").path();
        if path.extension().is_none() {
            continue;
        }
        let bytes = fs::read(&path).expect("it can be read");
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let outcome = property(&bytes);
        if name.split('.').next() != Some(outcome.as_str()) {
            wrong.push(format!("{name} is {outcome}"));
        }
        replayed += 1;
        bytes_in_all += bytes.len();
    }
    wrong.sort();
    assert!(wrong.is_empty(), "{target}:\n{}", wrong.join("\n"));
    assert!(replayed >= 12, "the corpus has gone: {replayed} files");
    assert!(
        bytes_in_all < 40_000,
        "{bytes_in_all} bytes are no small corpus"
    );
}
