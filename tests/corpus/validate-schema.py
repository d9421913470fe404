#!/usr/bin/env python3
"""Validates files against a JSON Schema, independently of the program that wrote them.

    validate-schema.py [--strict] SCHEMA FILE...

FILE is .json (one document), .ndjson or .ndjson.gz (one document per line). Text with a contentSchema is parsed and
validated too. With --strict a top-level key that the schema does not name is an error as well. Needs jsonschema.
Prints what is wrong and how many documents were looked at; ends with 0 only where nothing is wrong.
"""

import gzip
import json
import sys

from jsonschema import Draft202012Validator


def documents(path):
    opener = gzip.open if path.endswith(".gz") else open
    with opener(path, "rt", encoding="utf-8", newline="\n") as file:
        if ".ndjson" not in path:
            yield path, file.read()
            return
        for number, line in enumerate(file, 1):
            yield f"{path}:{number}", line


def unique(pairs):
    """An object with a key twice is read differently by different readers."""
    keys = [key for key, _ in pairs]
    if len(keys) != len(set(keys)):
        raise ValueError(f"a key stands twice: {keys}")
    return dict(pairs)


def named(schema, document):
    """Every key the schema names for this document, by its kind where it has one."""
    defs = schema.get("$defs", {})
    own = defs.get(document.get("kind"), schema)
    keys = set(own.get("properties", {}))
    for part in own.get("allOf", []):
        keys |= set(defs[part["$ref"].rsplit("/", 1)[1]]["properties"])
    return keys


def faults(schema, validator, text, strict):
    try:
        document = json.loads(text, object_pairs_hook=unique)
    except ValueError as error:
        yield f"does not parse: {error}"
        return
    for error in validator.iter_errors(document):
        best = min(error.context, key=lambda e: (len(e.schema_path), str(e.message)), default=error)
        yield f"{error.json_path}: {error.message[:200]} ({best.message[:200]})"
    if strict and isinstance(document, dict):
        for key in sorted(set(document) - named(schema, document)):
            yield f"{key}: not named by the schema"
    for key, rule in schema.get("properties", {}).items():
        if "contentSchema" in rule and key in document:
            inner = {**schema["$defs"][rule["contentSchema"]["$ref"].rsplit("/", 1)[1]], "$defs": schema["$defs"]}
            yield from (f"{key}: {f}" for f in faults(inner, Draft202012Validator(inner), document[key], strict))


def main(arguments):
    strict = "--strict" in arguments
    schema_path, *files = [argument for argument in arguments if argument != "--strict"]
    with open(schema_path, encoding="utf-8") as file:
        schema = json.load(file)
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)
    seen = wrong = 0
    for path in files:
        for place, text in documents(path):
            seen += 1
            for fault in faults(schema, validator, text, strict):
                wrong += 1
                print(f"{place}: {fault}")
    print(f"{seen} documents, {wrong} faults")
    return 0 if seen and not wrong else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
