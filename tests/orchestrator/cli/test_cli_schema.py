"""schema: JSON for editors."""

import json


def test_the_schema_is_json_that_knows_the_keys(bnsweep):
    schema = json.loads(bnsweep("schema").out)
    assert {"name", "axes", "seeds", "resources"} <= set(schema["properties"])
