"""A second implementation of fingerprints, from docs/fingerprints.md alone, and the check of the vectors beside it.

    python3 test/vectors/fingerprint.py [vector files]

It prints one line a file and exits with 1 when any differs. Python 3.8 and its standard library are enough.
"""

import hashlib
import json
import pathlib
import sys

VERSION = 3


# --- canonical JSON (RFC 8785) ----------------------------------------------------------------------------------------


def canonical(value):
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, (int, float)):
        return number(float(value))
    if isinstance(value, list):
        return "[" + ",".join(map(canonical, value)) + "]"
    names = sorted(value, key=lambda name: name.encode("utf-16-be"))
    return "{" + ",".join(f"{quoted(name)}:{canonical(value[name])}" for name in names) + "}"


ESCAPES = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r"}


def quoted(text):
    return '"' + "".join(ESCAPES.get(c, f"\\u{ord(c):04x}" if c < " " else c) for c in text) + '"'


def number(value):
    """A double as ECMAScript prints it: the shortest digits that read back the same, an exponent when it is far from 1."""
    if value == 0:
        return "0"
    if value in (float("inf"), float("-inf")) or value != value:
        raise ValueError("JSON has no such number")
    sign = "-" if value < 0 else ""
    mantissa, _, exponent = repr(abs(value)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    # The value is 0.DIGITS times ten to the power of `point`.
    point = len(whole) + int(exponent or 0) - (len(whole + fraction) - len(digits))
    digits = digits.rstrip("0")
    count = len(digits)
    if count <= point <= 21:
        return sign + digits + "0" * (point - count)
    if 0 < point <= 21:
        return sign + digits[:point] + "." + digits[point:]
    if -6 < point <= 0:
        return sign + "0." + "0" * -point + digits
    tail = "." + digits[1:] if count > 1 else ""
    return f"{sign}{digits[0]}{tail}e{'+' if point > 0 else '-'}{abs(point - 1)}"


def sha256(text):
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


# --- fingerprints -----------------------------------------------------------------------------------------------------


def word(name, prefix):
    """ATTRIBUTE_TYPE_LONG is "long"."""
    assert name.startswith(prefix), name
    return name[len(prefix) :].lower().replace("_", "-")


def columns(schema):
    return [
        {"name": a.get("name", ""), "type": word(a["type"], "ATTRIBUTE_TYPE_")} for a in schema.get("attributes", [])
    ]


def label(key):
    number = str(int(key.get("portId", 0)))
    return f"internal-{number}" if key.get("internal") else number


def global_port_id(key):
    shown = {True: "true", False: "false"}
    return (
        f"(logicalOpId={key['operatorId']},layerName={key['layer']},portId={int(key.get('portId', 0))},"
        f"isInternal={shown[key.get('internal', False)]},isInput={shown[key.get('input', False)]})"
    )


def content(operator):
    properties = operator.get("properties", {})

    def without(*names):
        return {name: value for name, value in properties.items() if name not in names}

    if "scan" in operator:
        scan = operator["scan"]
        format = scan["format"]
        read = {
            "delimiter": format.get("delimiter", ""),
            "encoding": format.get("encoding", ""),
            "kind": word(format["kind"], "KIND_"),
        }
        if "header" in format:
            read["header"] = format["header"]
        return {
            "properties": without("dataset", "columns"),
            "scan": {
                "contentHash": scan.get("contentHash", ""),
                "fileSchema": columns(scan["fileSchema"]),
                "format": read,
            },
        }
    if "userFunction" in operator:
        function = operator["userFunction"]
        return {
            "properties": without("call", "code", "environment", "retainInputColumns"),
            "userFunction": {
                "call": word(function.get("call", "CALL_TUPLE"), "CALL_").replace("unspecified", "tuple"),
                "code": function.get("code", ""),
                "entryPoint": function.get("entryPoint", ""),
                "environment": function.get("environment", {}),
                "language": word(function["language"], "LANGUAGE_"),
                "retainInputColumns": function.get("retainInputColumns", False),
            },
        }
    return {"properties": properties}


def fingerprints(plan):
    """Hash and JSON, or a reason, of every output port, by global port id."""
    feeding = {}
    for link in plan.get("links", []):
        feeding.setdefault(global_port_id(link["to"]), []).append(global_port_id(link["from"]))

    def sources_of(operator):
        """The output ports that feed each input port, by its label."""
        keys = [port["key"] for port in operator.get("inputs", [])]
        return {label(key): feeding.get(global_port_id(key), []) for key in keys}

    found = {}
    inherited = {}  # What a port with a reason passes on.
    waiting = list(plan.get("operators", []))
    while waiting:
        operator = next(o for o in waiting if all(s in found for ids in sources_of(o).values() for s in ids))
        waiting.remove(operator)
        sources = sources_of(operator)
        behind = [inherited[source] for ids in sources.values() for source in ids if source in inherited]
        for port in operator["outputs"]:
            id = global_port_id(port["key"])
            own = port.get("uncacheableReason", "")
            if own:
                found[id] = {"reason": own}
                name = quoted(operator["operatorId"])
                inherited[id] = f"It depends on {name}, which may differ from run to run. {own}"
            elif behind:
                found[id] = {"reason": behind[0]}
                inherited[id] = behind[0]
            else:
                form = {
                    "version": VERSION,
                    "type": operator.get("type", ""),
                    "layer": operator.get("layer", ""),
                    "port": label(port["key"]),
                    "inputs": {name: sorted(found[id]["hash"] for id in ids) for name, ids in sources.items()},
                    "outputs": {label(output["key"]): columns(output["schema"]) for output in operator["outputs"]},
                    **content(operator),
                }
                text = canonical(form)
                found[id] = {"hash": sha256(text), "json": text}
    return found


# --- the vectors ------------------------------------------------------------------------------------------------------


def differences(path):
    vector = json.loads(path.read_text("utf-8"), parse_int=float)
    if "values" in vector:
        for case in vector["values"]:
            text = canonical(json.loads(case["json"], parse_int=float))
            if text != case["canonical"]:
                yield f"{case['json']} gives {text}, not {case['canonical']}"
            elif sha256(text) != case["sha256"]:
                yield f"{case['json']} has the hash {sha256(text)}, not {case['sha256']}"
        return
    if sha256(canonical(vector["plan"])) != vector["planDigest"]:
        yield f"planDigest is {sha256(canonical(vector['plan']))}, not {vector['planDigest']}"
    computed = fingerprints(vector["plan"])
    for id in {**computed, **vector["fingerprints"]}:
        if computed.get(id) != vector["fingerprints"].get(id):
            yield f"{id} has {computed.get(id)}, not {vector['fingerprints'].get(id)}"


def main(names):
    here = pathlib.Path(__file__).parent
    paths = [pathlib.Path(name) for name in names] or sorted(here.glob("*.json"))
    failed = False
    for path in paths:
        found = list(differences(path))
        failed = failed or bool(found)
        print("\n  ".join([f"{path.name}: {'differs' if found else 'ok'}", *found]))
    return 1 if failed or not paths else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
