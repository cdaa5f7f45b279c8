"""Makes an OpenAPI document of about three thousand YAML files that refer to each other, laid out as DigitalOcean's is: a root whose paths
lead to a file for each operation, which leads to parameters, responses and models, which lead to more of them, also across folders. The
same bytes each time.

    python3 bench/openapi_files.py FOLDER        # prints the root's path, and how many files, operations and references there are

Every fourth resource has a tree of itself in its model, so there are circles through files too."""

import pathlib
import re
import sys

RESOURCES = 60
MODELS = 18  # of a resource
STATUSES = {"401": "unauthorized", "429": "too_many_requests", "500": "server_error", "default": "unexpected_error"}
HEADERS = ("ratelimit-limit", "ratelimit-remaining", "ratelimit-reset")
# name, method, path behind the resource's, whether it has a body, what it answers
OPERATIONS = (("list", "get", "", False, "all"), ("create", "post", "", True, "one"), ("get", "get", "/{id}", False, "one"),
              ("update", "put", "/{id}", True, "one"), ("patch", "patch", "/{id}", True, "one"), ("delete", "delete", "/{id}", False, "none"),
              ("list_actions", "get", "/{id}/actions", False, "actions"), ("post_action", "post", "/{id}/actions", True, "action"),
              ("get_action", "get", "/{id}/actions/{action_id}", False, "action"), ("list_tags", "get", "/{id}/tags", False, "tags"),
              ("add_tag", "post", "/{id}/tags", True, "tag"))
ANSWERS = ("all", "one", "none", "actions", "action", "tags", "tag")


class Writer:
    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.files = self.references = 0

    def write(self, path, text):
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
        self.files += 1
        self.references += len(re.findall(r"\$ref:", text))


def shared(w):
    for i, (status, name) in enumerate(STATUSES.items()):
        headers = "".join(f"  {h}:\n    $ref: '../headers.yml#/{h}'\n" for h in HEADERS)
        w.write(f"shared/responses/{name}.yml",
                f"description: The answer {status}.\nheaders:\n{headers}content:\n  application/json:\n    schema:\n"
                f"      $ref: '../models/error.yml'\n    example:\n      id: {name}\n      message: Example {i} of an error.\n")
    w.write("shared/models/error.yml", "type: object\nproperties:\n  id:\n    type: string\n    example: not_found\n  message:\n    type: string\n"
                                       "  request_id:\n    type: string\n    format: uuid\nrequired:\n- id\n- message\n")
    w.write("shared/models/meta.yml", "type: object\nproperties:\n  total:\n    type: integer\n    minimum: 0\nrequired:\n- total\n")
    w.write("shared/models/links.yml", "type: object\nproperties:\n  pages:\n    type: object\n    properties:\n      first:\n        type: string\n"
                                       "        format: uri\n      last:\n        type: string\n        format: uri\n")
    w.write("shared/models/region.yml", "type: string\nenum:\n" + "".join(f"- r{i}\n" for i in range(12)))
    w.write("shared/headers.yml", "".join(f"{h}:\n  schema:\n    type: integer\n  description: About {h}.\n" for h in HEADERS))
    w.write("shared/parameters.yml",
            "per_page:\n  in: query\n  name: per_page\n  schema:\n    type: integer\n    minimum: 1\n    maximum: 200\n    default: 20\n"
            "page:\n  in: query\n  name: page\n  schema:\n    type: integer\n    minimum: 1\n    default: 1\n"
            "tag_name:\n  in: query\n  name: tag_name\n  schema:\n    type: string\n")


def model(r, m):
    """Properties of all kinds; some are other models, of this resource or of the one before."""
    lines = ["type: object", f"description: Model {m} of resource {r}.", "properties:"]
    for p in range(4 + m % 4):
        lines += [f"  field_{p}:", f"    description: What field {p} of it is for, in the words of somebody who has written many of these.",
                  *(("    type: string", "    maxLength: 255", f"    example: value-{r}-{m}-{p}"), ("    type: integer", "    minimum: 0"),
                    ("    type: boolean", "    default: false"), ("    type: array", "    items:", "      type: string"),
                    ("    type: string", "    format: date-time"), ("    type: string", "    nullable: true", "    pattern: '^[a-z0-9_-]+$'"))[p % 6]]
    if m % 4 == 1:
        lines += ["  region:", "    $ref: '../../../shared/models/region.yml'"]
    if m % 5 and m > 4:
        lines += ["  part:", f"    $ref: 'model_{m - 5}.yml'"]
    if m % 7 == 3 and r:
        lines += ["  origin:", f"    $ref: '../../resource_{r - 1}/models/model_{m - 1}.yml'"]
    if m == 0 and r % 4 == 0:
        lines += ["  children:", "    type: array", "    items:", "      $ref: 'model_0.yml'"]
    lines += ["required:", "- field_0"]
    return "\n".join(lines) + "\n"


def answer(kind):
    item = {"all": 0, "one": 0, "actions": 6, "action": 6, "tags": 11, "tag": 11}.get(kind)
    if item is None:
        return "description: Nothing is answered.\n"
    if kind in ("one", "action", "tag"):
        body = f"      properties:\n        {kind}:\n          $ref: '../models/model_{item}.yml'\n"
    else:
        body = (f"      properties:\n        {kind}:\n          type: array\n          items:\n            $ref: '../models/model_{item}.yml'\n"
                "        links:\n          $ref: '../../../shared/models/links.yml'\n        meta:\n          $ref: '../../../shared/models/meta.yml'\n")
    return f"description: The answer of kind {kind}.\ncontent:\n  application/json:\n    schema:\n      type: object\n{body}"


def operation(r, o):
    name, _, path, body, answers = OPERATIONS[o]
    lines = [f"operationId: resource_{r}_{name}", f"summary: {name.replace('_', ' ')} of resource {r}", "description: |",
             f"  To {name.replace('_', ' ')}, send a request to `/v2/resource_{r}{path}`. What follows is as long as such a text is,", "  so that the "
             "reader has something to do: it says what is sent, what comes back, and what to think of.", "tags:", f"- Resource {r}"]
    parameters = [f"- $ref: 'parameters.yml#/{p}'" for p in ("id", "action_id") if f"{{{p}}}" in path]
    parameters += [f"- $ref: '../../shared/parameters.yml#/{p}'" for p in (("per_page", "page") if answers in ("all", "actions", "tags") else ())]
    if parameters:
        lines += ["parameters:", *parameters]
    if body:
        lines += ["requestBody:", "  required: true", "  content:", "    application/json:", "      schema:", f"        $ref: 'models/model_{o + 5}.yml'"]
    status = {"none": "'204'"}.get(answers, "'201'" if name == "create" else "'200'")
    lines += ["responses:", f"  {status}:", f"    $ref: 'responses/{answers}.yml'"]
    for code, shared_name in STATUSES.items():
        lines += [f"  '{code}':", f"    $ref: '../../shared/responses/{shared_name}.yml'"]
    lines += ["x-codeSamples:", f"- $ref: 'examples/{name}.yml'", "security:", "- bearer_auth:", f"  - resource_{r}:use"]
    return "\n".join(lines) + "\n"


def resource(w, r):
    folder = f"resources/resource_{r}"
    w.write(f"{folder}/parameters.yml", "".join(
        f"{p}:\n  in: {where}\n  name: {p}\n  required: {required}\n  description: Which one.\n  schema:\n    type: {kind}\n"
        for p, where, required, kind in (("id", "path", "true", "string"), ("action_id", "path", "true", "integer"))))
    for m in range(MODELS):
        w.write(f"{folder}/models/model_{m}.yml", model(r, m))
    for kind in ANSWERS:
        w.write(f"{folder}/responses/{kind}.yml", answer(kind))
    for o, (name, *_) in enumerate(OPERATIONS):
        w.write(f"{folder}/{name}.yml", operation(r, o))
        w.write(f"{folder}/examples/{name}.yml", f"lang: cURL\nsource: |-\n  curl -X GET \\\n    -H \"Authorization: Bearer $TOKEN\" \\\n    "
                                                 f"\"https://api.example.com/v2/resource_{r}\"\n")


def make(folder):
    """(the root's path, files, operations, references)."""
    w = Writer(folder)
    shared(w)
    lines = ["openapi: 3.0.0", "info:", "  title: Many files", "  version: '2.0'", "servers:", "- url: https://api.example.com", "security:", "- bearer_auth: []",
             "components:", "  securitySchemes:", "    bearer_auth:", "      type: http", "      scheme: bearer", "paths:"]
    for r in range(RESOURCES):
        resource(w, r)
        for path in dict.fromkeys(o[2] for o in OPERATIONS):
            lines.append(f"  /v2/resource_{r}{path}:")
            for name, method, of, *_ in OPERATIONS:
                if of == path:
                    lines += [f"    {method}:", f"      $ref: 'resources/resource_{r}/{name}.yml'"]
    w.write("root.yml", "\n".join(lines) + "\n")
    return pathlib.Path(folder) / "root.yml", w.files, RESOURCES * len(OPERATIONS), w.references


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    print(*make(sys.argv[1]))
