//! Embeds GraphiQL where it was built (`tools/graphiql`, `npm run build`). Uses no network, and does
//! without it: the page then loads it from a CDN.

#![expect(
    clippy::disallowed_methods,
    reason = "cargo tells a build script by the environment where it is"
)]

use std::{env, fmt::Write, fs, io, path::Path};

fn main() -> io::Result<()> {
    let root = env::var("CARGO_MANIFEST_DIR").map_err(io::Error::other)?;
    let out = env::var("OUT_DIR").map_err(io::Error::other)?;
    let dist = Path::new(&root).join("tools/graphiql/dist");
    println!("cargo::rerun-if-changed=build.rs");
    let mut files = String::new();
    let mut watched = dist.as_path();
    if dist.is_dir() {
        embed(&dist, "", &mut files)?;
    } else if let Some(around) = dist.parent() {
        // A path that does not exist counts as changed, so each build would compile everything again.
        watched = around;
    }
    println!("cargo::rerun-if-changed={}", watched.display());
    let list = format!("&[{files}]");
    fs::write(Path::new(&out).join("graphiql.rs"), list)
}

/// Lists the compressed files of a folder and of those in it, as pairs of a path and its bytes.
fn embed(folder: &Path, prefix: &str, files: &mut String) -> io::Result<()> {
    let mut entries: Vec<_> = fs::read_dir(folder)?.collect::<Result<_, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = entry.path();
        if path.is_dir() {
            embed(&path, &format!("{prefix}{name}/"), files)?;
        } else if let Some(name) = name.strip_suffix(".gz") {
            let (name, path) = (format!("{prefix}{name}"), path.display().to_string());
            writeln!(files, "({name:?}, include_bytes!({path:?}) as &[u8]),")
                .map_err(io::Error::other)?;
        }
    }
    Ok(())
}
