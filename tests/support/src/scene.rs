//! Sends a first message with a scripted model and checks the outcome of its title.

use serde_json::{Value, json};

use super::{
    Answer, ModelServer, Rows, Server, assert_common_stream, sse::titles, stored::StoredTitle,
};

/// A model, a service that uses it, and direct access to the rows.
pub struct Scene {
    pub model: ModelServer,
    pub server: Server,
    pub rows: Rows,
}

impl Scene {
    pub const MESSAGE: &str = "Plan a trip to Kyoto in April";

    /// Answers title calls with these answers, then with the default one.
    pub async fn titles(answers: impl IntoIterator<Item = Answer>) -> Self {
        Self::titles_with(answers, &[]).await
    }

    /// Like [`Self::titles`], with additional settings.
    pub async fn titles_with(answers: impl IntoIterator<Item = Answer>, settings: &[&str]) -> Self {
        let model = ModelServer::start().await;
        for answer in answers {
            model.title(answer);
        }
        Self::of(model, settings).await
    }

    /// Answers reply calls with these answers, then with the default one.
    pub async fn replies(answers: impl IntoIterator<Item = Answer>) -> Self {
        Self::replies_with(answers, &[]).await
    }

    /// Like [`Self::replies`], with additional settings.
    pub async fn replies_with(
        answers: impl IntoIterator<Item = Answer>,
        settings: &[&str],
    ) -> Self {
        let model = ModelServer::start().await;
        for answer in answers {
            model.reply(answer);
        }
        Self::of(model, settings).await
    }

    async fn of(model: ModelServer, settings: &[&str]) -> Self {
        // A long grace, so that the stream includes the title even on a slow machine.
        let mut patient = vec!["--title-grace", "15s"];
        patient.extend(settings);
        let server = Server::start_with(&model, &patient).await;
        let rows = Rows::of(&server.database).await;
        Self {
            model,
            server,
            rows,
        }
    }

    /// Starts a conversation whose reply must be complete, whatever the outcome of its title. Returns its id once the
    /// title is decided.
    pub async fn unharmed(&self) -> String {
        let events = self.turn(json!({ "message": Self::MESSAGE })).await;
        let terminal = assert_common_stream(&events);
        assert_eq!(terminal["raw_type"], "response.completed", "{terminal}");
        assert_eq!(terminal["response_text"], ModelServer::REPLY.concat());
        let id = terminal["conversation_id"].as_str().unwrap();
        let stored = self.rows.decided_title(id).await;
        let user = ("user".into(), "complete".into(), Self::MESSAGE.into());
        let reply = (
            "assistant".into(),
            "complete".into(),
            ModelServer::REPLY.concat(),
        );
        assert_eq!(self.rows.messages(id).await, [user, reply]);
        // The stream must have sent what is stored.
        match stored.display_name {
            Some(title) => assert_eq!(titles(&events), [title]),
            None => assert_eq!(titles(&events), [""; 0]),
        }
        id.to_owned()
    }

    /// Runs a turn to the end of its stream.
    pub async fn turn(&self, body: Value) -> Vec<Value> {
        self.server.stream(body).await.rest().await
    }

    /// Asserts that the title failed for this reason, and that rows and GraphQL fall back to the hint.
    pub async fn assert_failed(&self, id: &str, reason: &str) {
        let expected = StoredTitle {
            display_name: None,
            title_generated_at: None,
            title_source: "hint".into(),
            title_status: "failed".into(),
            title_failure: Some(reason.into()),
            topic_hint: Some(Self::MESSAGE.into()),
            // Three revisions: created, replied to, title failed.
            revision: 3,
        };
        assert_eq!(self.rows.decided_title(id).await, expected);
        let expected = json!({
            "title": Self::MESSAGE,
            "displayName": null,
            "titleGeneratedAt": null,
            "titleSource": "HINT",
            "titleStatus": "FAILED",
        });
        assert_eq!(self.shown(id).await, expected);
    }

    /// Asserts that the title is the scripted model's default.
    pub async fn assert_ready(&self, id: &str) {
        let stored = self.rows.decided_title(id).await;
        assert_eq!(stored.display_name.as_deref(), Some(ModelServer::TITLE));
        assert_eq!(stored.title_source, "generated");
        assert_eq!(stored.title_status, "ready");
        assert_eq!(stored.title_failure, None);
        assert!(stored.title_generated_at.is_some());
        let shown = self.shown(id).await;
        assert_eq!(shown["title"], ModelServer::TITLE);
        assert_eq!(shown["displayName"], ModelServer::TITLE);
        assert_eq!(shown["titleSource"], "GENERATED");
        assert_eq!(shown["titleStatus"], "READY");
        assert!(shown["titleGeneratedAt"].is_string(), "{shown}");
    }

    /// The number of title calls.
    pub fn title_calls(&self) -> usize {
        self.model.title_requests().len()
    }

    /// The number of reply calls.
    pub fn reply_calls(&self) -> usize {
        self.model.reply_requests().len()
    }

    /// What GraphQL shows about a conversation's title.
    pub async fn shown(&self, id: &str) -> Value {
        const QUERY: &str = "query ($id: ID!) { conversation(id: $id) {
            title displayName titleGeneratedAt titleSource titleStatus
        } }";
        let mut data = self.server.data(QUERY, json!({ "id": id })).await;
        data["conversation"].take()
    }
}
