"""HTTP requests that schemathesis makes at random from `/openapi.json`, valid and invalid ones. Each is answered with a
status, a content type and a body that the document describes, and never with 5xx.

`run` starts the server, names it in TITLECAST_URL, and looks at its log afterwards."""

import os

import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

URL = os.environ["TITLECAST_URL"]
EXAMPLES = int(os.environ.get("TITLECAST_FUZZ_EXAMPLES", "100")) // 10

schema = schemathesis.openapi.from_url(
    f"{URL}/openapi.json", config=schemathesis.config.SchemathesisConfig()
)
# The metrics are on another listener, and title streams stay open.
schema = schema.exclude(operation_id=["metrics", "streamTitle"])


@schema.parametrize()
@settings(
    max_examples=EXAMPLES,
    deadline=None,  # a loaded machine is not slow by itself; the request's own limit is below
    database=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)
def test_every_answer_is_described(case):
    response = case.call(timeout=10)
    checks = [not_a_server_error, status_code_conformance, content_type_conformance]
    # Of a stream, the document describes the frames as text, and schemathesis would compare its events.
    if not response.headers.get("content-type", [""])[0].startswith("text/event-stream"):
        checks.append(response_schema_conformance)
    case.validate_response(response, checks=checks)
