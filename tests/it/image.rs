//! The image can be built from what its Dockerfile copies. Checked without docker, which may be missing.

use std::fs;

fn read(path: &str) -> String {
    let path = format!("{}/{path}", env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// What the Dockerfile copies from the checkout, without slashes at the end.
fn copied() -> Vec<String> {
    let dockerfile = read("Dockerfile");
    let copies = dockerfile
        .lines()
        .filter_map(|line| line.strip_prefix("COPY "));
    let copies = copies.filter(|copy| !copy.starts_with("--from"));
    let sources = copies.flat_map(|copy| {
        let mut paths: Vec<&str> = copy.split_whitespace().collect();
        // The last is where they go.
        paths.pop();
        paths
    });
    sources
        .map(|path| path.trim_end_matches('/').to_owned())
        .collect()
}

fn is_within(path: &str, folder: &str) -> bool {
    path == folder || path.starts_with(&format!("{folder}/"))
}

#[test]
fn what_is_copied_into_the_image_is_not_ignored() {
    let ignore = read(".dockerignore");
    assert!(ignore.lines().any(|line| line == "*"));
    let kept: Vec<&str> = (ignore.lines().filter_map(|line| line.strip_prefix('!'))).collect();
    let copied = copied();
    assert!(copied.contains(&"Cargo.toml".to_owned()), "{copied:?}");
    for path in copied {
        assert!(
            kept.iter().any(|kept| is_within(&path, kept)),
            "{path} is ignored"
        );
    }
}

#[test]
fn every_member_of_the_workspace_is_copied_into_the_image() {
    let manifest = read("Cargo.toml");
    let members = manifest
        .lines()
        .find_map(|line| line.strip_prefix("members = "))
        .unwrap();
    let members: Vec<String> = serde_json::from_str(members).unwrap();
    assert!(members.len() > 3);
    let copied = copied();
    for member in members {
        let member = format!("{}/Cargo.toml", member.trim_end_matches("/*"));
        assert!(
            copied.iter().any(|path| is_within(&member, path)),
            "{member} is not copied"
        );
    }
}
