//! The compiler keeps a handler to what its guarantee can keep. Each case that does not compile has a twin
//! that does, in which only the guarantee is another.

use std::error::Error;
use std::fs;

#[test]
fn a_handler_can_do_what_its_guarantee_can_keep_and_nothing_else() -> Result<(), Box<dyn Error>> {
    let cases = trybuild::TestCases::new();
    for (what, refused, allowed) in [
        ("table", "at_least_once", "exactly_once"),
        ("idempotency_key", "exactly_once", "at_least_once"),
        ("queue", "exactly_once", "at_least_once"),
    ] {
        let path = |guarantee: &str| format!("tests/ui/{what}_in_{guarantee}.rs");
        assert_eq!(
            without_guarantee(&path(refused))?,
            without_guarantee(&path(allowed))?,
            "the twins differ in more than the guarantee"
        );
        cases.compile_fail(path(refused));
        cases.pass(path(allowed));
    }
    Ok(())
}

/// The lines of a case, with the guarantee's name taken out.
fn without_guarantee(path: &str) -> Result<Vec<String>, Box<dyn Error>> {
    let source = fs::read_to_string(path)?;
    let neutral = |line: &str| line.replace("AtLeastOnce", "G").replace("ExactlyOnce", "G");
    // The imports are sorted by name.
    Ok(source
        .lines()
        .filter(|line| !line.starts_with("use "))
        .map(neutral)
        .collect())
}
