//! Replays the corpus of the fuzzer, so that what it once found stays fixed without a nightly compiler.

use std::fs;
use std::path::Path;

#[path = "../../fuzz/property.rs"]
mod property;

#[test]
fn client_requests() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/client_request");
    let mut replayed = 0;
    for entry in fs::read_dir(corpus).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|ending| ending != "json") {
            continue;
        }
        let name = path.file_name().unwrap().to_str().unwrap();
        let outcome = match property::client_request(&fs::read(&path).unwrap()) {
            None => "binary",
            Some(Ok(_)) => "taken",
            Some(Err(code)) => code,
        };
        assert_eq!(name.split('.').next(), Some(outcome), "{name}");
        replayed += 1;
    }
    assert!(replayed >= 20, "the corpus has gone: {replayed} files");
}
