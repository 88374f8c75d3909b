//! The HTML page of `titlecast try`: one file without scripts, which loads nothing.
//!
//! Every text is escaped. The content security policy of the page allows its own style, by its hash, and nothing else,
//! so that a title with markup stays text even if an escape were missing. Only the file's owner may read it.

use std::{
    fmt::Write as _,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    path::Path,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha256};

use super::{Comparison, columns, resume::private};
use crate::{conversation::text::single_line, titles::trial::Attempt};

const STYLE: &str = include_str!("page.css");

/// The maximum length of a shown message, in characters.
const MESSAGE_CHARS: usize = 300;

/// The file of the page. It is created at the start, so that a run does not end with a page that cannot be written, and
/// removed if the run fails earlier.
pub(super) struct PageFile<'a> {
    file: File,
    path: &'a Path,
    is_written: bool,
}

impl<'a> PageFile<'a> {
    /// Creates the file; an existing one is not overwritten.
    pub(super) fn create(path: &'a Path) -> io::Result<Self> {
        let file = private(OpenOptions::new().write(true).create_new(true)).open(path)?;
        Ok(Self {
            file,
            path,
            is_written: false,
        })
    }

    pub(super) fn write(mut self, comparison: &Comparison<'_>) -> io::Result<()> {
        self.store(&page(comparison))
    }

    fn store(&mut self, page: &str) -> io::Result<()> {
        self.file.write_all(page.as_bytes())?;
        self.file.sync_all()?;
        self.is_written = true;
        Ok(())
    }
}

impl Drop for PageFile<'_> {
    fn drop(&mut self) {
        if !self.is_written {
            // If removing fails, an empty file remains, which the next run reports.
            let _ = fs::remove_file(self.path);
        }
    }
}

// Writing to a String cannot fail.
fn page(comparison: &Comparison<'_>) -> String {
    let hash = STANDARD.encode(Sha256::digest(STYLE));
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'sha256-{hash}'; \
         base-uri 'none'; form-action 'none'\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<meta name=\"referrer\" content=\"no-referrer\">\n\
         <title>Titles compared</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>Titles compared</h1>\n"
    );
    let _ = writeln!(
        page,
        "<p class=\"soft\">{} messages {}.{} Made by titlecast {}.</p>",
        comparison.subjects.len(),
        Escaped(&comparison.source),
        match comparison.is_partial {
            true => " The run stopped before it had asked for all titles.",
            false => "",
        },
        env!("CARGO_PKG_VERSION")
    );
    numbers(&mut page, comparison);
    texts(&mut page, comparison);
    titles(&mut page, comparison);
    page.push_str("</body>\n</html>\n");
    page
}

fn numbers(page: &mut String, comparison: &Comparison<'_>) {
    let columns = columns(comparison);
    page.push_str("<div class=\"scroll\"><table class=\"numbers\">\n<thead><tr><th>candidate</th>");
    for column in &columns {
        let _ = write!(
            page,
            "<th title=\"{}\">{}</th>",
            Escaped(column.meaning),
            Escaped(column.title)
        );
    }
    page.push_str("</tr></thead>\n<tbody>\n");
    for (at, one) in comparison.candidates.iter().enumerate() {
        let _ = write!(
            page,
            "<tr><th scope=\"row\">{}</th>",
            Escaped(&one.candidate.name)
        );
        for column in &columns {
            let class = match column.best.contains(&at) {
                true => " class=\"best\"",
                false => "",
            };
            let _ = write!(page, "<td{class}>{}</td>", Escaped(&column.values[at]));
        }
        page.push_str("</tr>\n");
    }
    page.push_str(
        "</tbody>\n</table></div>\n<details><summary>What the columns mean</summary>\n<dl>\n",
    );
    for column in &columns {
        let (title, meaning) = (Escaped(column.title), Escaped(column.meaning));
        let _ = writeln!(page, "<dt>{title}</dt><dd>{meaning}</dd>");
    }
    page.push_str("</dl></details>\n");
}

/// The texts of the candidates, and the reasons for missing titles.
fn texts(page: &mut String, comparison: &Comparison<'_>) {
    let mut list = String::new();
    for one in &comparison.candidates {
        let mut lines = String::new();
        for (name, text) in [
            ("instruction", &one.candidate.instruction),
            ("style", &one.candidate.style),
        ] {
            if let Some(Some(text)) = text {
                let _ = writeln!(lines, "<dd>{name}: {}</dd>", Escaped(text));
            }
        }
        for (reason, count) in &one.summary.never {
            let _ = writeln!(lines, "<dd>no title: {count} × {}</dd>", Escaped(reason));
        }
        if !lines.is_empty() {
            let _ = write!(list, "<dt>{}</dt>\n{lines}", Escaped(&one.candidate.name));
        }
    }
    if !list.is_empty() {
        let _ = write!(
            page,
            "<h2>Texts, and why titles are missing</h2>\n<dl>\n{list}</dl>\n"
        );
    }
}

/// All titles side by side.
fn titles(page: &mut String, comparison: &Comparison<'_>) {
    let has_references = comparison.has_references();
    page.push_str(
        "<h2>Titles</h2>\n<div class=\"scroll\"><table class=\"titles\">\n<thead><tr><th>message</th>",
    );
    if has_references {
        page.push_str("<th>reference</th>");
    }
    for one in &comparison.candidates {
        let _ = write!(page, "<th>{}</th>", Escaped(&one.candidate.name));
    }
    page.push_str("</tr></thead>\n<tbody>\n");
    for (at, subject) in comparison.subjects.iter().enumerate() {
        let message = beginning(&subject.message);
        let _ = write!(
            page,
            "<tr><th scope=\"row\" dir=\"auto\">{}</th>",
            Escaped(&message)
        );
        if has_references {
            let reference = subject.reference.as_deref().map(single_line);
            let reference = reference.unwrap_or_default();
            let _ = write!(page, "<td dir=\"auto\">{}</td>", Escaped(&reference));
        }
        for one in &comparison.candidates {
            cell(page, one.attempts[at].as_ref());
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</tbody>\n</table></div>\n");
}

fn cell(page: &mut String, attempt: Option<&Attempt>) {
    let _ = match attempt {
        Some(Attempt {
            title: Some(title),
            calls,
            ..
        }) => {
            let class = match calls {
                0 | 1 => "",
                _ => " class=\"later\"",
            };
            write!(page, "<td dir=\"auto\"{class}>{}</td>", Escaped(title))
        }
        Some(Attempt { failure, .. }) => {
            let reason = failure.as_deref().unwrap_or("unknown");
            write!(page, "<td class=\"none\">{}</td>", Escaped(reason))
        }
        None => write!(page, "<td class=\"soft\">not asked</td>"),
    };
}

/// The beginning of a message, on one line and without invisible characters.
fn beginning(message: &str) -> String {
    let beginning: String = message.chars().take(MESSAGE_CHARS).collect();
    let mut line = single_line(&beginning);
    if beginning.len() < message.len() {
        line.push('…');
    }
    line
}

/// Displays a text with HTML's special characters escaped.
struct Escaped<'a>(&'a str);

impl std::fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_was_not_written_leaves_no_file() {
        let path = std::env::temp_dir().join(format!("page-{}.html", uuid::Uuid::now_v7()));
        drop(PageFile::create(&path).unwrap());
        assert!(!path.exists());
        let mut page = PageFile::create(&path).unwrap();
        page.store("<!doctype html>").unwrap();
        assert!(PageFile::create(&path).is_err(), "it is not overwritten");
        drop(page);
        assert_eq!(fs::read_to_string(&path).unwrap(), "<!doctype html>");
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn markup_is_text() {
        let text = "</th><script>alert('1')</script> & \"x\"";
        assert_eq!(
            Escaped(text).to_string(),
            "&lt;/th&gt;&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt; &amp; &quot;x&quot;"
        );
    }
}
