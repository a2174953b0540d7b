//! What the library brings into an application's build.

use crate::harness::Tested;
use std::collections::BTreeSet;
use std::error::Error;
use std::process::Command;

/// ARCHITECTURE.md says what each is for.
const DIRECT: [&str; 13] = [
    "arc-swap",
    "bincode",
    "crossbeam-channel",
    "getrandom",
    "jiff",
    "rust_decimal",
    "serde",
    "serde_json",
    "serde_path_to_error",
    "sha2",
    "sled",
    "thiserror",
    "twox-hash",
];

/// Async runtimes, the network, signal handlers, and loggers that install themselves.
const BANNED: &[&str] = &[
    "async-executor",
    "async-global-executor",
    "async-io",
    "async-std",
    "ctrlc",
    "env_logger",
    "futures-executor",
    "hyper",
    "mio",
    "native-tls",
    "openssl",
    "polling",
    "reqwest",
    "rustls",
    "signal-hook",
    "smol",
    "socket2",
    "tokio",
    "tracing-subscriber",
    "ureq",
];

/// The library's dependencies as cargo resolves them; none where there is no cargo.
fn tree(arguments: &[&str]) -> Result<Option<BTreeSet<String>>, Box<dyn Error>> {
    // Set by cargo for the tests that it runs.
    let Some(cargo) = std::env::var_os("CARGO") else {
        println!("skipped: not started by cargo");
        return Ok(None);
    };
    let output = Command::new(cargo)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["tree", "--offline", "--package", env!("CARGO_PKG_NAME")])
        .args(["--edges", "normal", "--prefix", "none", "--format", "{p}"])
        .args(arguments)
        .output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    let text = String::from_utf8(output.stdout)?;
    let names = text.lines().filter_map(|line| line.split(' ').next());
    let names = names.filter(|name| !name.is_empty() && *name != env!("CARGO_PKG_NAME"));
    Ok(Some(names.map(str::to_owned).collect()))
}

#[test]
fn the_direct_dependencies_are_those_that_have_a_reason() -> Tested {
    if let Some(found) = tree(&["--depth", "1"])? {
        assert_eq!(found, DIRECT.map(str::to_owned).into());
    }
    Ok(())
}

#[test]
fn no_feature_brings_an_async_runtime_a_network_client_or_a_logger() -> Tested {
    if let Some(found) = tree(&["--all-features"])? {
        assert!(found.contains("sled"), "{found:?}");
        let banned: Vec<_> = BANNED
            .iter()
            .filter(|name| found.contains(**name))
            .collect();
        assert!(banned.is_empty(), "{banned:?}");
    }
    Ok(())
}
