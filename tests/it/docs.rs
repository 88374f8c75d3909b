//! The documents hold together: their GraphQL is the schema's, their JSON is JSON, and what they link to is there.

use std::{
    collections::{HashMap, HashSet},
    fs,
    path::{Path, PathBuf},
};

use async_graphql::parser::{parse_query, types::DocumentOperations};
use pulldown_cmark::{CodeBlockKind, Event, Parser, Tag, TagEnd};
use serde_json::{Value, json};
use titlecast_testing::{ModelServer, Server};

/// A document, as far as it can be checked.
#[derive(Default)]
struct Page {
    /// Fenced blocks: the language, and the text.
    blocks: Vec<(String, String)>,
    /// Where links, pictures and sources of pictures lead to.
    links: Vec<String>,
    /// What `#` can name.
    anchors: HashSet<String>,
}

impl Page {
    fn read(path: &Path) -> Self {
        Self::of(&fs::read_to_string(path).unwrap())
    }

    fn of(text: &str) -> Self {
        let mut page = Self::default();
        let (mut block, mut heading) = (None::<(String, String)>, None::<String>);
        let mut known = HashMap::new();
        for event in Parser::new(text) {
            match event {
                Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(language))) => {
                    block = Some((language.to_string(), String::new()));
                }
                Event::End(TagEnd::CodeBlock) => page.blocks.extend(block.take()),
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::End(TagEnd::Heading(_)) => {
                    let slug = slug(&heading.take().unwrap_or_default());
                    // Of several of the same name the later ones are numbered.
                    let before = known.entry(slug.clone()).or_insert(0);
                    page.anchors.insert(match *before {
                        0 => slug,
                        number => format!("{slug}-{number}"),
                    });
                    *before += 1;
                }
                Event::Text(text) | Event::Code(text) => {
                    if let Some((_, block)) = &mut block {
                        block.push_str(&text);
                    } else if let Some(heading) = &mut heading {
                        heading.push_str(&text);
                    }
                }
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    page.links.push(dest_url.to_string());
                }
                Event::Html(html) | Event::InlineHtml(html) => {
                    for attribute in ["src=\"", "srcset=\"", "href=\""] {
                        let found = html.split(attribute).skip(1);
                        let values = found.filter_map(|rest| rest.split('"').next());
                        page.links.extend(values.map(str::to_owned));
                    }
                }
                _ => {}
            }
        }
        page
    }
}

/// The anchor of a heading, as GitHub makes it.
fn slug(heading: &str) -> String {
    let kept = heading
        .trim()
        .chars()
        .filter(|&c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

/// All documents for people.
fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pages: Vec<PathBuf> = fs::read_dir(root.join("docs"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect();
    let others = [
        "README.md",
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "examples/README.md",
        "crates/graphql-gate/README.md",
        "crates/graphql-transport/README.md",
        "crates/lenient-json/README.md",
    ];
    pages.extend(
        others
            .map(|name| root.join(name))
            .into_iter()
            .filter(|path| path.exists()),
    );
    pages.sort_unstable();
    assert!(pages.len() > 5, "{pages:?}");
    pages
}

/// Blocks of a language in all documents, each with where it stands.
fn blocks(language: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for path in pages() {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let blocks = Page::read(&path).blocks.into_iter();
        found.extend(
            blocks
                .filter(|(of, _)| of == language)
                .map(|(_, text)| (name.clone(), text)),
        );
    }
    assert!(!found.is_empty(), "there is no block of {language}");
    found
}

/// What is wrong with a document.
async fn fault(server: &Server, document: &str) -> Option<Value> {
    let Ok(parsed) = parse_query(document) else {
        return Some(json!("it is no GraphQL"));
    };
    let DocumentOperations::Multiple(operations) = parsed.operations else {
        return Some(json!("its operation has no name"));
    };
    // What stands around a variable in an argument is looked at only when there is a value for it.
    let mut written_out = document.to_owned();
    for (name, operation) in &operations {
        for definition in &operation.node.variable_definitions {
            let variable = format!("${}", definition.node.name.node);
            let sample = sample(&definition.node.var_type.node.to_string());
            written_out = written_out.replace(&variable, sample);
        }
        let (before, rest) = written_out.split_once(name.as_str()).unwrap();
        if !operation.node.variable_definitions.is_empty() {
            let (_, rest) = rest.split_once(')').unwrap();
            written_out = format!("{before}{name}{rest}");
        }
    }
    for document in [document, &written_out] {
        // Nothing of it is executed: it is validated as a whole before one operation is chosen, and that is ours.
        let body = json!({ "query": format!("{document}\nquery Ours {{ __typename }}"), "operationName": "Ours" });
        let (_, answer) = server.send("POST", "/graphql", body).await;
        if answer["data"]["__typename"] != "Query" || !answer["errors"].is_null() {
            return Some(answer);
        }
    }
    None
}

/// A value of a type, as a literal.
fn sample(of: &str) -> &'static str {
    match of.trim_end_matches('!') {
        "ID" => "\"0a6f1e38-6f0e-4c5c-9c0e-0d6d8d7f2b11\"",
        "String" => "\"x\"",
        "Int" => "1",
        "SendMessageInput" => "{ text: \"x\" }",
        "RecordMessageInput" => "{ role: USER, text: \"x\" }",
        other => panic!("say here what a {other} looks like"),
    }
}

#[tokio::test]
async fn the_graphql_in_the_documents_is_the_schemas() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    for (page, document) in blocks("graphql") {
        let fault = fault(&server, &document).await;
        assert_eq!(fault, None, "{page}:\n{document}");
    }
    // Whatever is wrong in one is seen, in each kind of operation.
    for wrong in [
        "query A { conversations { nodes { id } }",
        "query A { conversations { nodes { name } } }",
        "query A($id: ID!) { conversation(id: 7, name: $id) { id } }",
        "query A($id: ID!) { conversations { nodes { id } } }",
        "mutation A { sendMessage(input: { message: \"x\" }) { replyId } }",
        "mutation A($id: ID!) { stopReply(input: { conversation: $id }) { stopped } }",
        "mutation A($id: ID!) { sendMessage(input: { conversationId: $id }) { replyId } }",
        "subscription A { reply(reply: 7) { ... on ReplyDelta { text } } }",
        "subscription A($id: ID) { conversationUpdated(id: $name) { id } }",
        "query A { ...Fields } fragment Fields on Conversation { nothing }",
        "{ conversations { nodes { id } } }",
    ] {
        assert_ne!(fault(&server, wrong).await, None, "{wrong}");
    }
}

#[test]
fn the_json_in_the_documents_is_json() {
    for (page, text) in blocks("json") {
        let parsed = serde_json::from_str::<Value>(&text);
        assert!(parsed.is_ok(), "{page}: {parsed:?}\n{text}");
    }
}

/// What is wrong with a link in this document; nothing with one to another server.
fn broken(from: &Path, link: &str) -> Option<String> {
    if link.contains("://") || link.starts_with("mailto:") {
        return None;
    }
    let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
    let target = match path {
        "" => from.to_owned(),
        path => from.parent().unwrap().join(path),
    };
    if !target.exists() {
        return Some(format!("{link} leads nowhere"));
    }
    if anchor.is_empty() {
        return None;
    }
    match target.is_file() && Page::read(&target).anchors.contains(anchor) {
        true => None,
        false => Some(format!("{link}: there is no heading of that name")),
    }
}

#[test]
fn what_the_documents_link_to_is_there() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for path in pages() {
        for link in Page::read(&path).links {
            count += 1;
            wrong.extend(broken(&path, &link).map(|fault| format!("{}: {fault}", path.display())));
        }
    }
    assert!(count > 30, "{count} links were found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_link_that_leads_nowhere_is_seen() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let page = Page::of(
        "# One `two`: three?\n## Same\n## Same\n[a](#one-two-three) ![b](c.png) <img src=\"d.png\">\n```json\n[x](y)\n```\n",
    );
    let anchors = ["one-two-three", "same", "same-1"].map(str::to_owned);
    assert_eq!(page.anchors, HashSet::from(anchors));
    assert_eq!(page.links, ["#one-two-three", "c.png", "d.png"]);
    assert_eq!(page.blocks, [("json".to_owned(), "[x](y)\n".to_owned())]);
    for link in [
        "docs/operations.md#sizing",
        "docs",
        "#limits",
        "https://x.example/y",
    ] {
        assert_eq!(broken(&readme, link), None);
    }
    for link in [
        "docs/nothing.md",
        "docs/operations.md#size",
        "#nothing",
        "docs#limits",
    ] {
        assert!(broken(&readme, link).is_some(), "{link}");
    }
}

/// The files that are a folder's room, `mod.rs` each, and `lib.rs`.
fn rooms(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rooms(&path, found);
        } else if ["mod.rs", "lib.rs"].iter().any(|name| path.ends_with(name)) {
            found.push(path);
        }
    }
}

/// The modules that a room declares and does not name, if its documentation lists modules.
fn unnamed(text: &str) -> Option<Vec<&str>> {
    let is_doc = |line: &&str| line.starts_with("//!");
    let doc: Vec<&str> = text.lines().filter(is_doc).collect();
    let lists = ["//! - `", "//! - [`", "//! | file |", "//! | module |"];
    let is_listed = |line: &&str| lists.iter().any(|list| line.starts_with(list));
    doc.iter().find(|line| is_listed(line))?;
    let doc = doc.join("\n");
    let modules = text.lines().filter_map(|line| {
        let line = line.strip_suffix(';')?;
        let name = ["mod ", "pub mod ", "pub(crate) mod ", "pub(super) mod "];
        let name = name.iter().find_map(|start| line.strip_prefix(start))?;
        (name != "tests" && !doc.contains(&format!("`{name}`"))).then_some(name)
    });
    Some(modules.collect())
}

#[test]
fn a_room_that_lists_its_files_lists_all() {
    let mut files = Vec::new();
    rooms(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        &mut files,
    );
    let (mut count, mut wrong) = (0, Vec::new());
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let Some(unnamed) = unnamed(&text) else {
            continue;
        };
        count += 1;
        let fault = format!("{}: {unnamed:?}", file.display());
        wrong.extend((!unnamed.is_empty()).then_some(fault));
    }
    assert!(count > 10, "{count} rooms list their files");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_file_that_its_room_does_not_name_is_seen() {
    let room = "//! A room.\n//!\n//! - `a`: one\n\nmod a;\npub mod b;\nmod tests;\n";
    assert_eq!(unnamed(room), Some(vec!["b"]));
    assert_eq!(unnamed("//! A room.\n\nmod a;\n"), None);
}
