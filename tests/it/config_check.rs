//! `titlecast config check`: what is in force, and every error with its file, line and key.

use titlecast_testing::{Titlecast, process::Ended};

/// In each file that is checked here, and never in what is printed.
const SECRET: &str = "a-secret-that-no-output-may-contain-0123";

/// `titlecast config check` with this file, and `DESK_KEY` and `OPENAI_API_KEY` in the environment.
async fn check(file: &str) -> Ended {
    let ended = Titlecast::new(&["config", "check", "--config", "titlecast.toml"])
        .file("titlecast.toml", file)
        .file("triage.md", "Be brief.\n")
        .file("empty", "\n")
        .file("short", "too short")
        .file("secret", &format!("{SECRET}\n"))
        .file("two-lines", &format!("{SECRET}\n{SECRET}\n"))
        .env("OPENAI_API_KEY", SECRET)
        .env("DESK_KEY", SECRET)
        .env("TWO_LINES", &format!("{SECRET}\n{SECRET}"))
        .env("NOTHING", "")
        .run()
        .await;
    assert!(!ended.stdout.contains(SECRET), "{}", ended.stdout);
    assert!(!ended.stderr.contains(SECRET), "{}", ended.stderr);
    ended
}

#[tokio::test]
async fn each_error_names_file_line_and_key() {
    #[rustfmt::skip]
    let table: &[(&str, &[&str])] = &[
        // Syntax.
        ("\n[providers.openai\n", &["titlecast.toml:2: "]),
        ("a = 1\na = 2\n", &["titlecast.toml:2: ", "duplicate key"]),
        ("[agents.a]\ninstructions = \"no end\n", &["titlecast.toml:2: "]),
        // Unknown keys and names, with the nearest known one.
        ("\ndefaultagent = \"triage\"", &["titlecast.toml:2: defaultagent: unknown key", "did you mean default_agent?"]),
        ("[agent.triage]", &["titlecast.toml:1: agent: unknown key", "agents?"]),
        ("[agents.triage]\nmodles = [\"openai/a\"]", &["titlecast.toml:2: agents.triage.modles: unknown key", "did you mean models?"]),
        ("[agents.triage.parameters]\ntemprature = 1", &["titlecast.toml:2: agents.triage.parameters.temprature: unknown key", "temperature?"]),
        ("[agents.triage]\nparameters = { effort = \"low\" }", &["titlecast.toml:2: agents.triage.parameters.effort: unknown key"]),
        ("[titles]\nmodel = \"openai/a\"", &["titlecast.toml:2: titles.model: unknown key", "models?"]),
        ("[titles]\nstlye = \"x\"", &["titlecast.toml:2: titles.stlye: unknown key", "style?"]),
        ("[titles.tenants.acme]\nmax_word = 3", &["titlecast.toml:2: titles.tenants.acme.max_word: unknown key", "max_words?"]),
        ("[agents.triage.titles]\ntenants = {}", &["titlecast.toml:2: agents.triage.titles.tenants: unknown key"]),
        ("[titles]\nmax_words = 1", &["titlecast.toml:2: titles.max_words: expected a whole number from 2 to 20"]),
        ("[titles.tenants.acme]\nmax_characters = 121", &["titlecast.toml:2: titles.tenants.acme.max_characters: expected a whole number from 10 to 120"]),
        ("[titles]\ncase = \"upper\"", &["titlecast.toml:2: titles.case: expected \"as_written\" or \"sentence\" or \"title\""]),
        ("[titles]\nlanguage = \"english\"", &["titlecast.toml:2: titles.language: expected AUTO or a language tag"]),
        ("[titles]\nfallback = \"extracted\"", &["titlecast.toml:2: titles.fallback: expected", "did you mean extract?"]),
        ("[titles]\nrefresh = true", &["titlecast.toml:2: titles.refresh: expected \"off\" or \"drift\""]),
        ("[titles]\nretry = \"31days\"", &["titlecast.toml:2: titles.retry: expected a time of at most"]),
        ("[titles.tenants.\"\"]", &["titlecast.toml:1: titles.tenants.\"\"", "1 to 128 characters"]),
        ("[titles.tenants.acme]\nprovider = \"openai\"", &["titlecast.toml:2: titles.tenants.acme.provider: has no effect without models"]),
        ("[titles.tenants.acme]\nmodels = [\"desk/b\"]\n[providers.openai]\n[agents.triage]", &["titlecast.toml:2: titles.tenants.acme.models: unknown provider desk"]),
        ("[providers.desk]\nbase_url = \"http://desk/v1\"\nwire = \"response\"", &["titlecast.toml:3: providers.desk.wire: expected", "\"responses\""]),
        ("[agents.triage]\nsource = \"extern\"", &["titlecast.toml:2: agents.triage.source", "did you mean external?"]),
        ("[providers.desk]\nbase_url = \"http://desk/v1\"\n[agents.triage]\nprovider = \"dask\"\nmodels = [\"a\"]", &["titlecast.toml:4: agents.triage.provider: unknown provider dask", "desk?"]),
        ("[agents.triage]\n[titles]\nmodels = [\n  \"openai/a\",\n  \"desk/b\"\n]\n[providers.openai]", &["titlecast.toml:5: titles.models: unknown provider desk"]),
        ("default_agent = \"support\"\n[agents.triage]", &["titlecast.toml:1: default_agent: no such agent"]),
        // Types and ranges.
        ("agents = 3", &["titlecast.toml:1: agents: expected a table"]),
        ("[agents.triage]\nmodels = \"a\"", &["titlecast.toml:2: agents.triage.models: expected a list of texts"]),
        ("[agents.triage]\nmodels = []", &["titlecast.toml:2: agents.triage.models: expected 1 to 16 entries"]),
        ("[agents.triage]\nmodels = [\"openai/a\", 3]", &["titlecast.toml:2: agents.triage.models: expected a text"]),
        ("[agents.triage]\nmodels = [\"openai/a\", \"openai/a\"]", &["titlecast.toml:2: agents.triage.models: names openai/a twice"]),
        ("[agents.triage]\nshow_models = \"yes\"", &["titlecast.toml:2: agents.triage.show_models: expected true or false"]),
        ("[agents.triage.parameters]\ntemperature = 2.5", &["titlecast.toml:2: agents.triage.parameters.temperature: expected a number from 0 to 2"]),
        ("[agents.triage.parameters]\ntop_p = nan", &["titlecast.toml:2: agents.triage.parameters.top_p: expected a number from 0 to 1"]),
        ("[agents.triage.parameters]\nmax_output_tokens = 0", &["titlecast.toml:2: agents.triage.parameters.max_output_tokens: expected a whole number"]),
        ("[agents.triage.parameters.extra]\nmodel = \"x\"", &["titlecast.toml:2: agents.triage.parameters.extra.model: is set by Titlecast"]),
        ("[agents.triage.parameters.extra]\ntools = []", &["titlecast.toml:2: agents.triage.parameters.extra.tools"]),
        ("[agents.triage.parameters.extra]\nsince = 2026-01-01", &["titlecast.toml:2: agents.triage.parameters.extra.since", "JSON"]),
        ("[agents.triage]\ntenants = [\"\"]", &["titlecast.toml:2: agents.triage.tenants: is empty"]),
        ("[providers.openai]\nidle = 60", &["titlecast.toml:2: providers.openai.idle: expected a time with a unit"]),
        ("[providers.openai]\nidle = \"0s\"", &["titlecast.toml:2: providers.openai.idle", "longer than 0s"]),
        ("[providers.\"a b\"]\nbase_url = \"http://desk/v1\"", &["titlecast.toml:1: providers.\"a b\"", "letters of a to z"]),
        ("[agents.\"\"]", &["titlecast.toml:1: agents.\"\"", "letters of a to z"]),
        ("[agents.triage]\nmodels = [\"openai/\"]", &["titlecast.toml:2: agents.triage.models: is not the name of a model"]),
        ("[agents.triage.parameters.extra]\nmodels = []", &["titlecast.toml:2: agents.triage.parameters.extra.models: is set by Titlecast"]),
        // Secrets, by reference only.
        ("[providers.desk]\nbase_url = \"http://desk/v1\"\napi_key_env = \"a-secret-that-no-output-may-contain-0123\"", &["titlecast.toml:3: providers.desk.api_key_env: expected the name of a variable"]),
        ("[providers.desk]\nbase_url = \"http://desk/v1\"\napi_key = \"a-secret-that-no-output-may-contain-0123\"", &["titlecast.toml:3: providers.desk.api_key: unknown key", "api_key_env?"]),
        ("[providers.desk]\nbase_url = \"http://me:a-secret-that-no-output-may-contain-0123@desk/v1\"", &["titlecast.toml:2: providers.desk.base_url: the URL has a password"]),
        ("[providers.desk]\nbase_url = \"http://desk/v1\"\napi_key_env = \"NOT_SET\"", &["titlecast.toml:3: providers.desk.api_key_env: the environment variable NOT_SET is not set"]),
        ("[providers.desk]\nbase_url = \"http://desk/v1\"\napi_key_file = \"none\"", &["titlecast.toml:3: providers.desk.api_key_file: the file none cannot be read"]),
        ("[providers.desk]\nbase_url = \"http://desk/v1\"\napi_key_file = \"empty\"", &["titlecast.toml:3: providers.desk.api_key_file: the file empty is empty"]),
        ("[providers.desk]\nbase_url = \"http://desk/v1\"\napi_key_env = \"DESK_KEY\"\napi_key_file = \"secret\"", &["titlecast.toml:4: providers.desk.api_key_file: api_key_env is set too"]),
        ("[providers.desk]\nbase_url = \"http://desk/v1\"\nheaders = { Authorization = \"x\" }", &["titlecast.toml:3: providers.desk.headers.Authorization: the header is set by Titlecast"]),
        ("[providers.desk]\nbase_url = \"http://desk/v1\"\nheaders = { X-Titlecast-User = \"x\" }", &["providers.desk.headers.X-Titlecast-User"]),
        ("[providers.desk]\nbase_url = \"http://desk/v1\"\nheaders = { X-Team = { env = \"NOT_SET\" } }", &["titlecast.toml:3: providers.desk.headers.X-Team", "NOT_SET is not set"]),
        ("[providers.desk]\nbase_url = \"http://desk/v1\"\nidentity = \"jwt\"", &["titlecast.toml:3: providers.desk.identity: identity = \"jwt\" needs identity_secret_file"]),
        ("[providers.desk]\nbase_url = \"http://desk/v1\"\nidentity = \"jwt\"\nidentity_secret_file = \"short\"", &["titlecast.toml:4: providers.desk.identity_secret_file: the secret is shorter than 32 bytes"]),
        ("[providers.desk]\nbase_url = \"http://desk/v1\"\nidentity_secret_file = \"secret\"", &["titlecast.toml:3: providers.desk.identity_secret_file: has no effect"]),
        // Providers and agents as a whole.
        ("[providers.desk]\nwire = \"responses\"", &["titlecast.toml:1: providers.desk: base_url is missing"]),
        ("[providers.desk]\nbase_url = \"desk/v1\"", &["titlecast.toml:2: providers.desk.base_url: expected a URL"]),
        ("[providers.desk]\nbase_url = \"http://desk/v1\"\nproxy = \"socks5://proxy:1080\"", &["titlecast.toml:3: providers.desk.proxy: expected a URL such as http://proxy.example:3128"]),
        ("[providers.other]\nbase_url = \"https://api.openai.com/v1\"\n[agents.a]\nmodels = [\"other/a\"]", &["titlecast.toml:1: providers.other: has no key"]),
        ("[providers.a]\nbase_url = \"http://a/v1\"\n[agents.x]\nprovider = \"a\"", &["titlecast.toml:3: agents.x: models is missing"]),
        ("[providers.a]\nbase_url = \"http://a/v1\"\n[agents.x]\nmodels = [\"m\"]", &["titlecast.toml:4: agents.x.models: names no provider"]),
        ("[agents.a]\n[agents.b]", &["titlecast.toml:1: default_agent: is missing"]),
        ("[agents.triage]\ntenants = [\"acme\"]", &["titlecast.toml:1: default_agent: the default agent triage has tenants"]),
        ("[agents.triage]\nsource = \"external\"\ninstructions = \"x\"", &["titlecast.toml:3: agents.triage.instructions: has no effect with source = \"external\""]),
        ("[providers.openai]\n[agents.triage]\nsource = \"external\"", &["titles.models: is missing", "external"]),
        ("[agents.triage]\ninstructions = \"x\"\ninstructions_file = \"triage.md\"", &["titlecast.toml:3: agents.triage.instructions_file: instructions is set too"]),
        ("[agents.triage]\ninstructions_file = \"none.md\"", &["titlecast.toml:2: agents.triage.instructions_file: the file none.md cannot be read"]),
        ("[agents.triage]\ninstructions_file = \"empty\"", &["titlecast.toml:2: agents.triage.instructions_file: the file empty is empty"]),
        ("[titles]\nprovider = \"openai\"", &["titlecast.toml:2: titles.provider: has no effect without models"]),
        // One mistake is one error.
        ("[agent.triage]\nmodels = [\"desk/a\"]\n[providers.desk]\nbase_url = \"http://desk/v1\"", &["titlecast.toml:1: agent: unknown key"]),
        ("[agents.\"a,b\"]\nmodels = [\"desk/a\"]\n[providers.desk]\nbase_url = \"http://desk/v1\"", &["titlecast.toml:1: agents.", "letters of a to z"]),
        ("default_agent = \"a,b\"\n[agents.\"a,b\"]\n[agents.c]", &["titlecast.toml:2: agents.", "letters of a to z"]),
        ("[provider.desk]\nbase_url = \"http://desk/v1\"\n[agents.triage]\nmodels = [\"desk/a\", \"desk/b\"]", &["titlecast.toml:1: provider: unknown key", "providers?"]),
        ("[agents.a]\rmodels = []\r", &["titlecast.toml:1: "]),
        // A secret in the wrong place.
        ("[providers.desk]\nbase_url = \"http://desk/v1\"\na-secret-that-no-output-may-contain-0123 = \"\"", &["titlecast.toml:3: providers.desk.(a name of 40 characters): unknown key"]),
        ("[providers.desk]\nbase_url = \"http://desk/v1\"\nheaders = { Host = \"x\", a-secret-that-no-output-may-contain-0123 = 3 }", &["the configuration has 2 errors"]),
        ("[providers.openai]\n[agents.triage]\nmodels = [\"a-secret-that-no-output-may-contain-0123/x\"]", &["titlecast.toml:3: agents.triage.models: unknown provider (a name of 40 characters)"]),
        ("[providers.desk]\nbase_url = \"http://desk/v1\"\nproxy = \"http://me:a-secret-that-no-output-may-contain-0123@proxy:3128\"", &["titlecast.toml:3: providers.desk.proxy: the URL has a password", "TITLECAST_PROXY"]),
        ("[providers.desk]\nbase_url = \"http://desk/v1\"\napi_key_file = \"two-lines\"", &["titlecast.toml:3: providers.desk.api_key_file: the key has a line break"]),
        ("[providers.desk]\nbase_url = \"http://desk/v1\"\nheaders = { X-Key = { env = \"TWO_LINES\" } }", &["titlecast.toml:3: providers.desk.headers.X-Key: the value has a line break"]),
        ("[providers.desk]\nbase_url = \"http://desk/v1\"\nheaders = { X-Key = \"one\\ntwo\" }", &["titlecast.toml:3: providers.desk.headers.X-Key: the value has a line break"]),
        ("[providers.desk]\nbase_url = \"http://desk/v1\"\napi_key_env = \"NOTHING\"", &["titlecast.toml:3: providers.desk.api_key_env: the environment variable NOTHING is empty"]),
        ("[providers.desk]\nbase_url = \"http://desk/v1\"\nca_file = \"none.pem\"", &["titlecast.toml:3: providers.desk.ca_file: the file none.pem cannot be read"]),
        ("[providers.desk]\nbase_url = \"http://desk/v1\"\nca_file = \"triage.md\"", &["titlecast.toml:3: providers.desk.ca_file: the file triage.md contains no PEM certificate"]),
    ];
    for (file, parts) in table {
        let ended = check(file).await;
        ended.assert_refused(parts);
    }
}

#[tokio::test]
async fn a_number_out_of_range_is_not_reported_as_one_of_a_wrong_type() {
    for number in ["2.5", "-0.5", "3", "nan", "inf"] {
        let ended = check(&format!(
            "[agents.triage.parameters]\ntemperature = {number}"
        ))
        .await;
        ended.assert_refused(&["temperature: expected a number from 0 to 2"]);
        assert!(!ended.stderr.contains("not a TOML"), "{}", ended.stderr);
    }
}

#[tokio::test]
async fn all_errors_are_printed_of_the_file_and_of_the_environment() {
    let file = "[agents.triage]\nmodles = [\"openai/a\"]\nsource = 3\n[titles]\nstlye = \"x\"\n";
    let ended = Titlecast::new(&["config", "check"])
        .file("titlecast.toml", file)
        .env("TITLECAST_CONFIG", "titlecast.toml")
        .env("TITLECAST_ALLOWED_ORIGINS", "app.example")
        .env("TITLECAST_LISTEN", "0.0.0.0:80")
        .env("DATABASE_URL", "mysql://me:hunter2@localhost/mine")
        .run()
        .await;
    ended.assert_refused(&["the configuration has 6 errors"]);
    let mut lines = ended.stderr.lines();
    for part in [
        "titlecast.toml:2: agents.triage.modles: unknown key",
        "titlecast.toml:3: agents.triage.source: expected",
        "titlecast.toml:5: titles.stlye: unknown key",
        "0.0.0.0:80",
        "app.example",
        "DATABASE_URL",
    ] {
        assert!(
            lines.any(|line| line.contains(part)),
            "{part}: {}",
            ended.stderr
        );
    }
    assert!(!ended.stderr.contains("hunter2"), "{}", ended.stderr);
}

#[tokio::test]
async fn a_file_that_cannot_be_read_is_refused() {
    for (path, reason) in [
        ("none.toml", "none.toml cannot be read: No such file"),
        (".", "cannot be read"),
        ("binary", "binary is not UTF-8 text"),
        ("large", "large is larger than 1048576 bytes"),
    ] {
        let command = Titlecast::new(&["config", "check", "--config", path])
            .file("large", &"#".repeat(1024 * 1024 + 1));
        let command = command.bytes("binary", &[0xff, 0xfe]);
        command.run().await.assert_refused(&[reason]);
    }
}

#[tokio::test]
async fn a_pipe_in_place_of_a_file_is_refused_at_once() {
    let pipe = std::env::temp_dir().join(format!("titlecast-pipe-{}", uuid::Uuid::now_v7()));
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    let path = pipe.display();
    let file = format!("[agents.triage]\ninstructions_file = \"{path}\"\n");
    let reason = format!("the file {path} cannot be read: it is not a regular file");
    check(&file).await.assert_refused(&[&reason]);
    let command =
        Titlecast::new(&["config", "check"]).env("OPENAI_API_KEY_FILE", &path.to_string());
    command.run().await.assert_refused(&["not a regular file"]);
    std::fs::remove_file(&pipe).unwrap();
}

#[tokio::test]
async fn the_start_is_refused_for_the_same_errors() {
    let file = "[agents.triage]\nmodles = [\"openai/a\"]\nsource = 3\n";
    let ended = Titlecast::new(&["serve", "--config", "titlecast.toml"])
        .file("titlecast.toml", file)
        .env("OPENAI_API_KEY", SECRET)
        .run()
        .await;
    ended.assert_refused(&[
        "titlecast.toml:2: agents.triage.modles: unknown key",
        "and 1 more",
        "titlecast config check",
    ]);
}

#[tokio::test]
async fn what_is_in_force_is_printed_with_its_sources_and_without_secrets() {
    let file = r#"
default_agent = "triage"

[providers.desk]
base_url = "http://agents.internal:9000/v1?token=a-secret-that-no-output-may-contain-0123"
api_key_env = "DESK_KEY"
headers = { X-Team = "support", X-Key = { env = "DESK_KEY" } }
proxy = "http://proxy.internal:3128"
identity = "jwt"
identity_secret_file = "secret"
first_event = "5m"

[agents.triage]
models = ["openai/gpt-5-mini", "desk/triage"]
instructions_file = "triage.md"
parameters = { reasoning_effort = "low", temperature = 0.5, extra = { top_k = 20, token = "a-secret-that-no-output-may-contain-0123" } }
budget = 5000

[agents.support]
source = "external"
tenants = ["acme"]

[titles]
models = ["desk/small"]
"#;
    let ended = check(file).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let from_file = ended.stdout.find("providers:").unwrap();
    insta::assert_snapshot!(&ended.stdout[from_file..]);
    for part in [
        "file: titlecast.toml",
        "--config: titlecast.toml (command line)",
        "--listen: 127.0.0.1:8080 (default)",
        "--openai-api-key: (hidden) (OPENAI_API_KEY)",
        "--openai-base-url: not set",
        "--metrics-listen: 127.0.0.1:0 (TITLECAST_METRICS_LISTEN)",
    ] {
        assert!(ended.stdout.contains(part), "{part}: {}", ended.stdout);
    }
}

#[tokio::test]
async fn a_text_of_a_policy_has_a_limit() {
    for (key, most) in [("style", 300), ("instruction", 1_000)] {
        for (length, is_valid) in [(most, true), (most + 1, false)] {
            let text = "é".repeat(length);
            let ended = check(&format!("[agents.triage]\n[titles]\n{key} = \"{text}\"\n")).await;
            assert_eq!(ended.code == Some(0), is_valid, "{}", ended.stderr);
            // Neither in an answer nor in an error.
            assert!(!ended.stdout.contains(&text) && !ended.stderr.contains(&text));
        }
    }
}

#[tokio::test]
async fn the_policy_of_a_tenant_and_an_agent_is_printed_with_its_sources() {
    const FILE: &str = r#"
[agents.triage]
[agents.orders]
[agents.orders.titles]
max_words = 3

[titles]
style = "Begin with the product."
language = "de"
[titles.tenants.acme]
max_words = 5
case = "sentence"
style = ""
budget = 5000
"#;
    let check = async |arguments: &[&str], variables: &[Variable]| {
        let arguments = [
            &["config", "check", "--config", "titlecast.toml"],
            arguments,
        ]
        .concat();
        let mut command = Titlecast::new(&arguments)
            .file("titlecast.toml", FILE)
            .env("OPENAI_API_KEY", SECRET);
        for (name, value) in variables {
            command = command.env(name, value);
        }
        command.run().await
    };
    let of_titles = |printed: &str| {
        let start = printed.find("\ntitles").unwrap();
        printed[start..].trim_start().to_owned()
    };
    let printed = check(&["--tenant", "acme", "--agent", "orders"], &[])
        .await
        .ok();
    insta::assert_snapshot!(of_titles(&printed));
    // Flags and environment go before the layer that they name.
    let variables: &[Variable] = &[
        ("TITLECAST_TITLE_LANGUAGE", "ja,acme=fr"),
        ("TITLECAST_TITLE_BUDGET", "100"),
    ];
    let printed = check(&["--tenant", "acme"], variables).await.ok();
    insta::assert_snapshot!(of_titles(&printed));
    let ended = check(&["--agent", "order"], &[]).await;
    ended.assert_refused(&["there is no such agent", "orders, triage"]);
}

#[tokio::test]
async fn without_a_file_the_flags_make_a_provider_and_an_agent() {
    let printed = Titlecast::new(&["config", "check"]).run().await.ok();
    for part in [
        "file: none",
        "none: the offline model answers",
        "triage (the default agent):",
        "titles: the offline model",
    ] {
        assert!(printed.contains(part), "{part}: {printed}");
    }
    let printed = Titlecast::new(&["config", "check", "--title-model", "small/one"])
        .file("key", SECRET)
        .env("OPENAI_API_KEY_FILE", "key")
        .env("OPENAI_BASE_URL", "http://me:hunter2@models.internal/v1")
        .run()
        .await
        .ok();
    for part in [
        "base_url: http://models.internal/v1 (--openai-base-url (OPENAI_BASE_URL))",
        "key: set (file key)",
        // Another server than OpenAI's has other models.
        "models: openai/gpt-6-luna (default)",
        "titles: openai/small/one (--title-model (TITLECAST_TITLE_MODEL))",
        "--openai-api-key: (hidden) (file key)",
    ] {
        assert!(printed.contains(part), "{part}: {printed}");
    }
    assert!(
        !printed.contains("hunter2") && !printed.contains(SECRET),
        "{printed}"
    );
}

/// An environment variable: name and value.
type Variable = (&'static str, &'static str);

#[tokio::test]
async fn base_url_and_key_of_a_provider_come_from_one_source() {
    const FILE: &str = r#"
[providers.openai]
base_url = "https://file.example/v1"
api_key_file = "secret"
headers = { X-Key = { env = "DESK_KEY" } }
"#;
    const BY_VARIABLE: &str = r#"
[providers.openai]
base_url = "https://file.example/v1"
api_key_env = "OPENAI_API_KEY"
"#;
    const URL: &str = "--openai-base-url";
    const KEY: &str = "--openai-api-key";
    #[rustfmt::skip]
    let table: &[(&str, &[Variable], &[&str])] = &[
        // Nothing but the file.
        (FILE, &[], &["base_url: https://file.example/v1 (line 3)", "key: set (secret)", "headers: x-key"]),
        // The environment's key must not reach the file's host.
        (FILE, &[("OPENAI_API_KEY", SECRET)], &["base_url: https://api.openai.com/v1 (default)", "key: set (--openai-api-key (OPENAI_API_KEY))", "line 3: providers.openai.base_url is not used", "providers.openai.api_key is not used", "providers.openai.headers is not used"]),
        // Nor the file's key the environment's host.
        (FILE, &[("OPENAI_BASE_URL", "https://env.example/v1")], &["base_url: https://env.example/v1", "key: none", "providers.openai.api_key is not used", URL]),
        (FILE, &[("OPENAI_BASE_URL", "https://env.example/v1"), ("OPENAI_API_KEY", SECRET)], &["base_url: https://env.example/v1", "key: set (--openai-api-key (OPENAI_API_KEY))"]),
        // The file itself names the variable.
        (BY_VARIABLE, &[("OPENAI_API_KEY", SECRET)], &["base_url: https://file.example/v1 (line 3)", "key: set (OPENAI_API_KEY)"]),
        (BY_VARIABLE, &[("OPENAI_API_KEY", SECRET), ("OPENAI_BASE_URL", "https://env.example/v1")], &["base_url: https://env.example/v1", KEY, "base_url is not used"]),
    ];
    for (file, variables, parts) in table {
        let mut command = Titlecast::new(&["config", "check", "--config", "titlecast.toml"])
            .file("titlecast.toml", file)
            .file("secret", SECRET)
            .env("DESK_KEY", SECRET);
        for (name, value) in *variables {
            command = command.env(name, value);
        }
        let printed = command.run().await.ok();
        for part in *parts {
            assert!(printed.contains(part), "{part}: {printed}");
        }
        assert!(!printed.contains(SECRET), "{printed}");
    }
}

/// The TOML in a text: what stands between "```toml" and "```".
fn blocks(text: &str) -> Vec<String> {
    let blocks = text.split("```toml\n").skip(1);
    let blocks = blocks.map(|rest| rest.split("```").next().unwrap());
    blocks.map(str::to_owned).collect()
}

#[tokio::test]
async fn the_example_and_the_files_of_the_documentation_are_valid() {
    let example = include_str!("../../examples/titlecast.toml");
    let page = blocks(include_str!("../../docs/agents.md"));
    let [first, providers, titles] = page.try_into().unwrap();
    let page = blocks(include_str!("../../docs/titles.md"));
    let [policies, of_acme] = page.try_into().unwrap();
    let policies = format!("[agents.triage]\n[agents.orders]\n{policies}");
    for file in [
        example.to_owned(),
        first,
        providers + &titles,
        policies,
        of_acme,
    ] {
        let ended = check(&file).await;
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert!(!ended.stdout.contains("note: "), "{}", ended.stdout);
    }
}

#[tokio::test]
async fn a_provider_without_a_key_says_which_variable() {
    let file = "[providers.openai]\n[agents.triage]\n";
    let check = |file| {
        let command = Titlecast::new(&["config", "check", "--config", "titlecast.toml"]);
        command.file("titlecast.toml", file).run()
    };
    check(file).await.assert_refused(&[
        "titlecast.toml:1: providers.openai: has no key",
        "OPENAI_API_KEY",
    ]);
    let file = "[agents.triage]\nmodels = [\"openai/a\"]\n";
    check(file).await.assert_refused(&[
        "titlecast.toml:2: agents.triage.models",
        "openai is not set up",
        "OPENAI_API_KEY",
    ]);
}

#[tokio::test]
async fn the_identity_secret_must_not_be_the_one_of_tokens() {
    let file = "[providers.desk]\nbase_url = \"http://desk/v1\"\nidentity = \"jwt\"\nidentity_secret_env = \"DESK_KEY\"\n[agents.triage]\nmodels = [\"desk/a\"]\n";
    let ended = Titlecast::new(&["config", "check", "--config", "titlecast.toml"])
        .file("titlecast.toml", file)
        .env("DESK_KEY", SECRET)
        .env("TITLECAST_JWT_SECRET", SECRET)
        .env("TITLECAST_JWT_ISSUER", "issuer")
        .env("TITLECAST_JWT_AUDIENCE", "audience")
        .run()
        .await;
    ended.assert_refused(&[
        "titlecast.toml:4: providers.desk.identity_secret_env",
        "--jwt-secret",
    ]);
    assert!(!ended.stderr.contains(SECRET));
}

#[tokio::test]
async fn what_the_server_would_refuse_is_refused() {
    let tokens = |keys: &'static str| {
        [
            ("TITLECAST_JWT_KEYS", keys),
            ("TITLECAST_JWT_ISSUER", "issuer"),
            ("TITLECAST_JWT_AUDIENCE", "audience"),
        ]
    };
    let unverified = "postgres://me@127.0.0.1/me?sslmode=prefer&sslrootcert=/ca.pem";
    let collector = ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318");
    let database = ("DATABASE_URL", unverified);
    let table = [
        (&tokens("none.json")[..], &["none.json", "--jwt-keys"][..]),
        (&tokens("not-a-set.json"), &["not a JSON Web Key Set"]),
        (&[collector], &["--otlp-endpoint", "http://"]),
        (&[database], &["sslmode=verify-full"]),
        // All are printed.
        (&[collector, database], &["the configuration has 2 errors"]),
    ];
    for (variables, parts) in table {
        let check = Titlecast::new(&["config", "check"]).file("not-a-set.json", "[]");
        let check = variables
            .iter()
            .fold(check, |check, (name, value)| check.env(name, value));
        check.run().await.assert_refused(parts);
    }
}

#[tokio::test]
async fn a_variable_with_a_slip_in_its_name_is_reported() {
    let ended = Titlecast::new(&["config", "check"])
        .env("TITLECAST_JWT_SECERT", SECRET)
        .env("TITLECAST_JWT_SECRE_FILE", "/secret")
        // As Kubernetes sets for a service of this name.
        .env("TITLECAST_SERVICE_HOST", "10.0.0.1")
        .env("TITLECAST_PORT_8080_TCP_ADDR", "10.0.0.1")
        .run()
        .await;
    let lines = ended.stderr.lines().collect::<Vec<_>>();
    assert_eq!(lines.len(), 2, "{lines:#?}");
    for slip in ["TITLECAST_JWT_SECERT", "TITLECAST_JWT_SECRE_FILE"] {
        let line = lines.iter().find(|line| line.contains(slip)).unwrap();
        assert!(line.contains("meant=TITLECAST_JWT_SECRET"), "{line}");
    }
    assert!(!ended.stderr.contains(SECRET), "{}", ended.stderr);
}
