"""Reads every answer that was no success, and says which tell of what is inside: SQL, paths, types, places in source."""

import base64
import json
import re
import sys

INSIDE = re.compile(
    r"""
    (?i:\b(select|insert\ into|update|delete\ from)\b[^"]*\b(from|values|set|where)\b)   # SQL
    | (?i:violates\ |relation\ \\?"|duplicate\ key\ value|sqlstate|pg_[a-z]+|sqlx|postgres)
    # Roles and crates; settings of an operator's, in capitals, may be named.
    | lockstep_[a-z]+ | (/root|/home|/usr|/build|/src|\.cargo)/ | [a-z_]+\.rs\b
    | [A-Za-z_]+::[A-Za-z_]+ | panicked | stack\ backtrace | serde | hyper | tokio | poem | reqwest
    | \b(Option|Vec|Box|Arc|HashMap|BTreeMap)<
    """,
    re.VERBOSE,
)


def text(content: dict) -> str:
    body = content.get("text") or ""
    if content.get("encoding") == "base64":
        return base64.b64decode(body).decode("utf-8", "replace")
    return body


def main(path: str) -> int:
    with open(path, encoding="utf-8") as file:
        entries = json.load(file)["log"]["entries"]
    refused, leaks = 0, 0
    for entry in entries:
        request, response = entry["request"], entry["response"]
        if response["status"] < 400:
            continue
        refused += 1
        body = text(response["content"])
        found = INSIDE.search(body)
        # What a caller sent may be said back to it.
        given = request["url"] + json.dumps(request.get("postData", {}))
        if found and found.group() not in given:
            leaks += 1
            print(f"{request['method']} {request['url']} -> {response['status']}: `{found.group()}` in {body[:400]}")
    print(f"{len(entries)} answers, {refused} refusals, {leaks} that tell of what is inside")
    return 0 if refused > 0 and leaks == 0 else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
