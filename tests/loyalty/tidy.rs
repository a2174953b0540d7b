//! The module uses nothing of the library but what every application can.

use crate::harness::Tested;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Names that `src/lib.rs` gives to everybody: its public modules and what it exports.
fn public_names(lib: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let code: String = without_comments(lib);
    for statement in code.split(';') {
        let statement = statement.trim();
        if let Some((_, exported)) = statement.rsplit_once("pub use ") {
            let list = exported.rsplit("::").next().unwrap_or(exported);
            let list = exported
                .split_once('{')
                .map_or(list, |(_, list)| list.trim_end_matches('}'));
            names.extend(list.split(',').map(|name| name.trim().to_owned()));
        } else if let Some((_, module)) = statement.rsplit_once("pub mod ") {
            names.insert(module.trim().to_owned());
        }
    }
    names.remove("");
    names
}

fn without_comments(code: &str) -> String {
    let lines = code.lines().map(|line| match line.split_once("//") {
        Some((code, _)) => code,
        None => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The first names of all paths that begin at the crate, those of `use crate::{...}` too.
fn used_names(code: &str) -> Vec<String> {
    let code = without_comments(code);
    let name = |text: &str| -> String {
        let is_part = |c: &char| c.is_alphanumeric() || *c == '_';
        text.trim_start().chars().take_while(is_part).collect()
    };
    let mut names = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        let Some(group) = rest.trim_start().strip_prefix('{') else {
            names.push(name(rest));
            continue;
        };
        let mut depth = 0;
        let mut begins = true;
        for (at, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => begins = true,
                c if begins && !c.is_whitespace() => {
                    names.push(name(&group[at..]));
                    begins = false;
                }
                _ => {}
            }
        }
    }
    names
}

#[test]
fn src_loyalty_uses_only_what_the_library_exports() -> Tested {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let public = public_names(&fs::read_to_string(root.join("src/lib.rs"))?);
    for known in ["Queue", "ExactlyOnce", "limits", "loyalty", "Watch"] {
        assert!(public.contains(known), "{known} is not in {public:?}");
    }
    let mut files = 0;
    let mut used = BTreeSet::new();
    for file in fs::read_dir(root.join("src/loyalty"))? {
        let path = file?.path();
        assert!(path.extension().is_some_and(|e| e == "rs"), "{path:?}");
        let code = fs::read_to_string(&path)?;
        // Above the module is the crate.
        let above = without_comments(&code).contains("super::super");
        assert!(!above, "{path:?} uses super::super");
        if path.ends_with("mod.rs") {
            assert!(!without_comments(&code).contains("super::"), "{path:?}");
        }
        for name in used_names(&code) {
            assert!(public.contains(&name), "{path:?} uses crate::{name}");
            used.insert(name);
        }
        files += 1;
    }
    assert!(files > 20, "{files} files");
    assert!(
        used.contains("Failure") && used.contains("limits"),
        "{used:?}"
    );
    Ok(())
}

#[test]
fn a_private_path_would_be_seen() {
    let names = |code: &str| used_names(code);
    assert_eq!(names("use crate::store::Store;"), ["store"]);
    assert_eq!(
        names("use crate::{\n    Context, failure::{cut, Failure}, kernel::BatchId,\n};"),
        ["Context", "failure", "kernel"]
    );
    assert_eq!(names("type Item = crate::runtime::Engine;"), ["runtime"]);
    assert_eq!(names("// crate::store"), [""; 0]);
    let public = public_names("mod store;\npub mod limits;\npub use a::b::{C, D};\npub use e::F;");
    let expected = ["C", "D", "F", "limits"].map(str::to_owned);
    assert_eq!(public, expected.into());
}
