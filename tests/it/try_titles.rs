//! `titlecast try`: what models are asked, what is shown, and what is never sent, stored or overwritten.

use std::{
    fs,
    sync::{Arc, Mutex},
};

use axum::{Json, extract::State, response::Response, routing::post};
use serde_json::{Value, json};
use titlecast::conversation::Owner;
use titlecast_testing::{
    Answer, ModelServer, Rows, Server, Titlecast, calls,
    model::{respond, serve},
    process::Ended,
    titles::settled,
};
use tokio::task::JoinHandle;

use super::agents::Folder;

/// Three models, which answer by their name: one well, one late or in the wrong script, one mostly wrong.
struct Models {
    url: String,
    requests: Arc<Mutex<Vec<Value>>>,
    serving: JoinHandle<()>,
}

impl Models {
    async fn start() -> Self {
        let requests: Arc<Mutex<Vec<Value>>> = Arc::default();
        let routes = post(answer).with_state(requests.clone());
        let (url, serving) = serve(routes).await;
        Self {
            url,
            requests,
            serving,
        }
    }

    fn asked(&self) -> usize {
        self.requests.lock().unwrap().len()
    }

    /// A file of configuration with the models.
    fn file(&self) -> String {
        format!(
            "[providers.desk]\nbase_url = \"{}\"\n[agents.triage]\nmodels = [\"desk/good\"]\n",
            self.url
        )
    }
}

impl Drop for Models {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn answer(
    State(requests): State<Arc<Mutex<Vec<Value>>>>,
    Json(request): Json<Value>,
) -> Response {
    let message = message_in(&request).to_owned();
    let model = request["model"].as_str().unwrap().to_owned();
    let tries = {
        let mut requests = requests.lock().unwrap();
        let same =
            |known: &&Value| known["model"] == request["model"] && message_in(known) == message;
        let tries = requests.iter().filter(same).count();
        requests.push(request);
        tries
    };
    let words: Vec<&str> = message.split_whitespace().collect();
    let subject = words[words.len().saturating_sub(4)..].join(" ");
    let subject = subject.trim_matches(|c: char| !c.is_alphanumeric());
    if model == "down" && tries < 2 {
        return respond(Answer::error(503, "server_error", None, "Later.")).await;
    }
    let title = match (model.as_str(), tries, message.len() % 4) {
        ("good", ..) => capitalised(subject),
        // Of use at the second try only.
        ("late", 0, 0 | 1) => "I'm sorry, I can't help with that.".to_owned(),
        ("late", ..) => format!("Help with {subject}"),
        ("wrong", _, 0) => {
            "Sure! Here is what I would do first, second and third in your place, my friend".into()
        }
        ("wrong", _, 1) => "https://example.com/answer".into(),
        ("wrong", _, 2) => "General Help".into(),
        _ => capitalised(subject),
    };
    respond(Answer::Title(title)).await
}

/// The first line of the user's message. Behind a plain request's instruction.
fn message_in(request: &Value) -> &str {
    let messages = request["messages"].as_array().unwrap();
    let input = messages.last().unwrap()["content"].as_str().unwrap();
    let mut message = input.lines().skip_while(|line| *line != "<message>");
    message.nth(1).unwrap_or_default()
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(|c| c.to_uppercase().to_string());
    first.unwrap_or_default() + chars.as_str()
}

/// This many messages, each with a title to compare with.
fn messages(count: usize) -> String {
    const SUBJECTS: [(&str, &str); 10] = [
        ("a three day trip to Lisbon", "Three day trip to Lisbon"),
        (
            "the KeyError in my Python script",
            "KeyError in Python script",
        ),
        (
            "pruning an apple tree in winter",
            "Pruning apple trees in winter",
        ),
        (
            "a birthday party for a five year old",
            "Birthday party for a five year old",
        ),
        (
            "PostgreSQL and MySQL for analytics",
            "PostgreSQL and MySQL for analytics",
        ),
        ("a refund of order 4711", "Refund of order 4711"),
        (
            "quantum computing for beginners",
            "Quantum computing for beginners",
        ),
        (
            "sourdough that does not rise",
            "Sourdough that does not rise",
        ),
        ("the port 8080 already in use", "Port 8080 already in use"),
        ("learning Japanese in a year", "Learning Japanese in a year"),
    ];
    const FORMS: [&str; 5] = [
        "Please help me with",
        "What should I know about",
        "Write a short text about",
        "I need some good advice on",
        "Explain to me step by step",
    ];
    let line = |at: usize| {
        let (subject, title) = SUBJECTS[at % SUBJECTS.len()];
        let form = FORMS[at / SUBJECTS.len() % FORMS.len()];
        let message = match at {
            7 => format!("<script>alert(1)</script> {form} {subject}, number {at}"),
            _ => format!("Question {at}: {form} {subject}"),
        };
        json!({ "message": message, "title": title }).to_string()
    };
    (0..count).map(line).collect::<Vec<_>>().join("\n")
}

/// `titlecast try` with the three models on the messages of this folder.
async fn try_file(folder: &Folder, arguments: &[&str]) -> Ended {
    let (config, file) = (folder.path("titlecast.toml"), folder.path("messages.jsonl"));
    let all = [&["try", "--config", &config, "--file", &file], arguments].concat();
    Titlecast::new(&all).run().await
}

const MODELS: &str = "desk/good,desk/late,desk/wrong";

#[tokio::test]
async fn two_hundred_messages_by_three_models_become_a_table_and_a_page() {
    let models = Models::start().await;
    let folder = Folder::new()
        .file("titlecast.toml", &models.file())
        .file("messages.jsonl", &messages(200));
    let (page, kept) = (folder.path("page.html"), folder.path("kept.jsonl"));
    #[rustfmt::skip]
    let arguments = [
        "--models", MODELS, "--sample", "200", "--yes", "--html", &page, "--resume", &kept,
        "--price", "desk/good=0.25/2,desk/late=0.05/0.4",
    ];
    let ended = try_file(&folder, &arguments).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let host = models
        .url
        .trim_start_matches("http://")
        .trim_end_matches("/v1");
    let said = format!("200 messages go to {host} (desk/good; desk/late; desk/wrong): 600 titles");
    assert!(ended.stderr.contains(&said), "{}", ended.stderr);
    // The table: each candidate and the two baselines. Times differ from run to run.
    let table: Vec<Vec<&str>> = ended
        .stdout
        .lines()
        .skip_while(|line| !line.starts_with("candidate"))
        .map(|line| {
            line.split("  ")
                .map(str::trim)
                .filter(|cell| !cell.is_empty())
                .collect()
        })
        .collect();
    let [head, good, late, wrong, offline, cut, ..] = &table[..] else {
        panic!("{}", ended.stdout);
    };
    assert_eq!(
        head[..8],
        [
            "candidate",
            "at once",
            "2nd try",
            "never",
            "language",
            "chars",
            "words",
            "dup"
        ]
    );
    assert_eq!(
        good[..4],
        ["desk/good", "100 %", "0 %", "0 %"],
        "{}",
        ended.stdout
    );
    assert_eq!(late[0], "desk/late");
    assert!(
        late[1] != "100 %" && late[2] != "0 %" && late[3] == "0 %",
        "{late:?}"
    );
    assert!(wrong[0] == "desk/wrong" && wrong[3] != "0 %", "{wrong:?}");
    assert_eq!(offline[0], "offline model");
    assert_eq!(cut[..4], ["first 60 characters", "100 %", "0 %", "0 %"]);
    assert!(
        ended.stdout.contains("\nno title by desk/wrong: "),
        "{}",
        ended.stdout
    );
    assert!(ended.stdout.contains(" a URL"), "{}", ended.stdout);
    assert!(head.contains(&"F1") && head.contains(&"ROUGE-L") && head.contains(&"price"));

    let html = fs::read_to_string(&page).unwrap();
    assert!(html.contains("content=\"default-src 'none'; style-src 'sha256-"));
    assert!(!html.contains("<script") && html.contains("&lt;script&gt;"));
    assert!(html.contains("prefers-color-scheme: dark"));
    assert_eq!(
        html.matches("<tr><th scope=\"row\" dir=\"auto\">").count(),
        200
    );
    for file in [&page, &kept] {
        use std::os::unix::fs::PermissionsExt;

        let mode = fs::metadata(file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    let results = fs::read_to_string(&kept).unwrap();
    assert_eq!(results.lines().count(), 800);
    assert!(
        !results.contains("Please help me with"),
        "no message is kept"
    );
    if let Some(target) = std::env::var_os("TITLECAST_TRY_PAGE") {
        fs::copy(&page, target).unwrap();
    }

    // Nothing is asked again, and nothing is overwritten.
    let asked = models.asked();
    assert!(asked > 600, "{asked}");
    let ended = try_file(&folder, &arguments).await;
    ended.assert_failed(&["page.html", "it exists, and is not overwritten"]);
    let again = folder.path("again.html");
    let arguments = arguments.map(|argument| {
        if argument == page {
            again.as_str()
        } else {
            argument
        }
    });
    let ended = try_file(&folder, &arguments).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(models.asked(), asked);
    assert_eq!(fs::read_to_string(&again).unwrap(), html);
}

#[tokio::test]
async fn a_run_that_the_budget_ended_goes_on() {
    let models = Models::start().await;
    let folder = Folder::new()
        .file("titlecast.toml", &models.file())
        .file("messages.jsonl", &messages(40));
    let kept = folder.path("kept.jsonl");
    let arguments = ["--models", "desk/good", "--yes", "--resume", &kept];
    let one_by_one = ["--title-concurrency", "1", "--budget-tokens", "1000"];
    // A call of the scripted model costs 102.
    let ended = try_file(&folder, &[&arguments[..], &one_by_one].concat()).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(models.asked(), 10);
    // A killed process leaves half a line.
    let mut results = fs::read_to_string(&kept).unwrap();
    results.push_str("{\"key\":\"0123");
    fs::write(&kept, results).unwrap();
    let ended = try_file(&folder, &arguments).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("30 messages go to"),
        "{}",
        ended.stderr
    );
    assert_eq!(models.asked(), 40);
    let ended = try_file(&folder, &arguments).await;
    assert!(!ended.stderr.contains("go to"), "{}", ended.stderr);
    assert_eq!(models.asked(), 40);
}

#[tokio::test]
async fn a_failure_that_may_pass_is_asked_for_again() {
    let models = Models::start().await;
    let folder = Folder::new()
        .file("titlecast.toml", &models.file())
        .file("messages.jsonl", &messages(5));
    let kept = folder.path("kept.jsonl");
    let arguments = ["--models", "desk/down", "--yes", "--resume", &kept];
    let ended = try_file(&folder, &arguments).await;
    assert!(
        ended
            .stdout
            .contains("no title by desk/down: 5 unavailable"),
        "{}",
        ended.stdout
    );
    let ended = try_file(&folder, &arguments).await;
    assert!(!ended.stdout.contains("no title"), "{}", ended.stdout);
    assert_eq!(models.asked(), 15);
}

#[tokio::test]
async fn a_provider_that_refuses_is_not_asked_for_each_title_and_the_same_command_goes_on() {
    let model = ModelServer::start().await;
    let no_key = || Answer::error(401, "invalid_request_error", Some("invalid_api_key"), "No.");
    model.title(no_key());
    let folder = Folder::new()
        .file(
            "titlecast.toml",
            &format!("[providers.desk]\nbase_url = \"{}\"\n[agents.triage]\nmodels = [\"desk/a\"]\n[titles.tenants.acme]\nlanguage = \"de\"\n", model.url),
        )
        .file("messages.jsonl", &format!("{{\"message\": \"hi\"}}\n{}", messages(20)));
    let (page, kept) = (folder.path("page.html"), folder.path("kept.jsonl"));
    #[rustfmt::skip]
    let arguments = [
        "--models", "desk/a", "--yes", "--title-concurrency", "1", "--html", &page, "--resume", &kept, "--tenant", "acme",
    ];
    let ended = try_file(&folder, &arguments).await;
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("refused: 0 tokens"),
        "{}",
        ended.stderr
    );
    assert!(
        ended.stderr.contains("1 messages without a subject"),
        "{}",
        ended.stderr
    );
    assert!(
        ended.stdout.contains("no title by desk/a: 1 unauthorized"),
        "{}",
        ended.stdout
    );
    assert_eq!(model.title_requests().len(), 1);
    assert!(!fs::exists(&page).unwrap());
    let ended = try_file(&folder, &arguments).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(fs::exists(&page).unwrap());
    // Under the policy of the tenant.
    let request = model.title_requests().pop().unwrap();
    assert!(
        request["messages"][0]["content"]
            .as_str()
            .unwrap()
            .contains("\"de\""),
        "{request}"
    );
}

#[tokio::test]
async fn texts_of_an_instruction_are_compared_and_nothing_is_sent_without_consent() {
    let models = Models::start().await;
    let folder = Folder::new()
        .file("titlecast.toml", &models.file())
        .file("messages.jsonl", &messages(3));
    let ended = try_file(&folder, &[]).await;
    ended.assert_refused(&["nothing was sent: add --yes"]);
    assert!(
        ended.stderr.contains("3 messages go to"),
        "{}",
        ended.stderr
    );
    assert_eq!(models.asked(), 0);

    let styles = [
        "--yes",
        "--style",
        "",
        "--style",
        "Begin with the product.",
        "--instruction",
        "Name it.",
    ];
    let ended = try_file(&folder, &styles).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let printed = &ended.stdout;
    assert!(printed.contains("desk/good, style 1") && printed.contains("desk/good, style 2"));
    let requests = models.requests.lock().unwrap().clone();
    assert_eq!(requests.len(), 6);
    let instruction = |request: &Value| {
        request["messages"][0]["content"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let with_style = requests
        .iter()
        .filter(|one| instruction(one).contains("Begin with the product."));
    assert_eq!(with_style.count(), 3);
    assert!(
        requests
            .iter()
            .all(|one| instruction(one).starts_with("Name it. The conversation begins"))
    );

    for (arguments, reason) in [
        (
            &["--yes", "--models", "other/x,desk/good"][..],
            "no such file",
        ),
        (
            &["--yes", "--price", "desk/other=1/2"],
            "desk/other is not one of the models",
        ),
        (
            &["--style", &"x".repeat(301)],
            "is longer than 300 characters",
        ),
    ] {
        let ended = try_file(&folder, arguments).await;
        // With one provider, a name with a slash may be that of a model.
        match reason {
            "no such file" => assert_eq!(ended.code, Some(0), "{}", ended.stderr),
            reason => ended.assert_refused(&[reason]),
        }
    }
    let config = folder.path("titlecast.toml");
    let ended = Titlecast::new(&["try", "--config", &config, "--yes"])
        .run()
        .await;
    ended.assert_refused(&["name the messages"]);
    let ended = Titlecast::new(&["try", "--file", "none"]).run().await;
    ended.assert_refused(&["name the models"]);
    let ended = Titlecast::new(&["try", "--file", "none", "--models", "openai/gpt-5-mini"])
        .run()
        .await;
    ended.assert_refused(&["there is no provider", "--config"]);
}

#[tokio::test]
async fn messages_of_the_database_are_those_of_the_tenant_and_nothing_is_stored() {
    const KEEP: &str = "SELECT id, display_name, revision, title_status, title_attempts FROM agent_conversations ORDER BY id";
    let service = ModelServer::start().await;
    let mut server = Server::start_with(&service, &[]).await;
    let owner = |tenant: &str| Owner {
        tenant: tenant.into(),
        user: "anna".into(),
    };
    let acme = server.serve(owner("acme")).await;
    let globex = server.serve(owner("globex")).await;
    let renamed = settled(&acme, "Please compare the two tariffs").await;
    calls::rename(&acme, &renamed, "Tariffs compared").await;
    settled(&acme, "Please cancel my second order").await;
    settled(&globex, "The secret plans of Globex").await;
    let untitled = json!({ "text": "Please title nothing here", "autoTitle": false });
    calls::send_message(&acme, untitled).await;
    let deleted = settled(&acme, "Please delete this one here").await;
    calls::delete(&acme, &deleted).await;
    let rows = Rows::of(&server.database).await;
    let dump = async || {
        let rows = rows.all(KEEP, []).await;
        let row = |row: &sea_orm::QueryResult| {
            let title: Option<String> = row.try_get("", "display_name").unwrap();
            let revision: i64 = row.try_get("", "revision").unwrap();
            let status: String = row.try_get("", "title_status").unwrap();
            (title, revision, status)
        };
        rows.iter().map(row).collect::<Vec<_>>()
    };
    let url = server.database.url.clone();
    server.end().await;
    let (before, calls) = (dump().await, rows.count("agent_title_calls").await);

    let models = Models::start().await;
    let folder = Folder::new().file("titlecast.toml", &models.file());
    let config = folder.path("titlecast.toml");
    for (whose, count) in [(&["--tenant", "acme"][..], 2), (&["--all-tenants"], 3)] {
        models.requests.lock().unwrap().clear();
        let arguments = [
            &["try", "--config", &config, "--database-url", &url, "--yes"],
            whose,
        ]
        .concat();
        let ended = Titlecast::new(&arguments).run().await;
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert!(
            ended.stderr.contains(&format!("{count} messages go to")),
            "{}",
            ended.stderr
        );
        // A user's own title is a reference.
        assert!(ended.stdout.contains("ROUGE-L"), "{}", ended.stdout);
        let sent = models.requests.lock().unwrap().clone();
        assert_eq!(sent.len(), count);
        let all = Value::from(sent).to_string();
        assert!(
            all.contains("two tariffs") && all.contains("second order"),
            "{all}"
        );
        assert!(
            !all.contains("title nothing") && !all.contains("delete this"),
            "{all}"
        );
        assert_eq!(all.contains("Globex"), count == 3, "{all}");
    }
    assert_eq!(dump().await, before);
    assert_eq!(rows.count("agent_title_calls").await, calls);
}
