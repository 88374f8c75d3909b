"""GraphQL operations that schemathesis makes at random from the schema, valid and invalid ones, with ids that
exist among those that do not. Whatever is asked, the server answers, and blames itself for nothing.

`run` starts the server, names it in TITLECAST_URL, and looks at its log afterwards."""

import os
import uuid

import requests
import schemathesis
from hypothesis import HealthCheck, settings, strategies
from schemathesis.generation import GenerationMode
from schemathesis.graphql import nodes

URL = os.environ["TITLECAST_URL"]
EXAMPLES = int(os.environ.get("TITLECAST_FUZZ_EXAMPLES", "100"))

# What a request can be at fault for. Each other code means that something broke.
REQUEST_IS_AT_FAULT = {
    "FORBIDDEN",
    "IDEMPOTENCY_KEY_REUSED",
    "INVALID_CURSOR",
    "BLANK_SEARCH",
    "ID_TAKEN",
    "NO_TEXT",
    "INVALID_INPUT",
    "MANUAL_TITLE",
    "NOT_FOUND",
    "QUERY_TOO_COMPLEX",
}
# Only where the document was made to be no GraphQL of this schema.
DOCUMENT_IS_AT_FAULT = {"GRAPHQL_PARSE_FAILED", "GRAPHQL_VALIDATION_FAILED", "INVALID_JSON"}


def ids_that_exist():
    """Conversations to find, rename, delete and answer; some with a reply that is still being written."""
    ids = [str(uuid.uuid4()) for _ in range(20)]
    for number, one in enumerate(ids):
        send = "mutation ($id: ID!) { sendMessage(input: { text: \"Plan trip %d\", conversationId: $id }) { replyId } }"
        answer = requests.post(f"{URL}/graphql", json={"query": send % number, "variables": {"id": one}}, timeout=10)
        assert "errors" not in answer.json(), answer.text
    return ids


there = strategies.sampled_from(ids_that_exist())
almost = strategies.builds(
    lambda one, text, place: one[:place] + text + one[place + 1 :],
    there,
    strategies.text(max_size=3),
    strategies.integers(0, 36),
)
ids = strategies.one_of(there, strategies.uuids().map(str), almost, strategies.text())
schemathesis.graphql.scalar("ID", ids.map(nodes.String))

# Its configuration file would be looked for in every folder above this one.
schema = schemathesis.graphql.from_url(
    f"{URL}/graphql", config=schemathesis.config.SchemathesisConfig()
)


@schema.parametrize()
@settings(
    max_examples=EXAMPLES,
    deadline=None,  # a loaded machine is not slow by itself; the request's own limit is below
    database=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)
def test_every_operation_is_answered(case):
    response = case.call(timeout=10)
    detail = f"{response.status_code} {response.text}\nfor {case.body}"
    assert response.status_code < 500, detail
    answer = response.json()
    assert "data" in answer or "errors" in answer, detail
    allowed = set(REQUEST_IS_AT_FAULT)
    if case.meta.generation.mode is GenerationMode.NEGATIVE:
        allowed |= DOCUMENT_IS_AT_FAULT
    for error in answer.get("errors", []):
        assert error["extensions"]["code"] in allowed, detail
        assert error["message"], detail
    # Nothing is refused in a way that says nothing.
    assert answer.get("data") is not None or answer.get("errors"), detail
