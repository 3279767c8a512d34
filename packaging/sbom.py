#!/usr/bin/env python3
"""Writes the software bill of materials of the `ringfort` binary: CycloneDX 1.5, JSON.

Every crate that the binary is built from for one target, build scripts and macros among them, tests and benchmarks not:
name, version, package URL, licence, the hash that Cargo.lock holds, and which of them each needs. Of the crates that
are not linked but only used by the compiler (macros, and what only build scripts need) the scope is `excluded`.
What cargo says is all that is read: no network, no clock. The same commit gives the same bytes; with
SOURCE_DATE_EPOCH the document has that time.

usage: packaging/sbom.py [--target TRIPLE] [--output FILE]
"""

import argparse
import collections
import datetime
import json
import os
import pathlib
import re
import subprocess
import sys
import tomllib
import uuid

ROOT = pathlib.Path(__file__).resolve().parent.parent
PACKAGE = "ringfort"
REGISTRY = "registry+https://github.com/rust-lang/crates.io-index"


def cargo(*arguments):
    ran = subprocess.run(
        ["cargo", *arguments, "--locked"], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False
    )
    if ran.returncode != 0:
        sys.exit(f"cargo {arguments[0]} failed")
    return ran.stdout


def tree(target, edges):
    """Each crate that is reached by such edges, with those that it needs itself. `cargo metadata` would not do: it
    also names crates of features that are off."""
    said = cargo(
        "tree", f"--package={PACKAGE}", f"--edges={edges}", f"--target={target}", "--prefix=depth",
        "--no-dedupe", "--format=|{p}",
    )
    needs = collections.defaultdict(set)
    path = []
    for line in said.splitlines():
        depth, name, version = re.match(r"(\d+)\|(\S+) v(\S+)", line).groups()
        del path[int(depth):]
        one = (name, version)
        needs[one]
        if path:
            needs[path[-1]].add(one)
        path.append(one)
    return needs


def purl(name, version):
    return f"pkg:cargo/{name}@{version.replace('+', '%2B')}"


def spdx(expression):
    """The expression as SPDX writes it today: older crates have `/` for a choice, and `MPL-2.0+`."""
    return re.sub(r"\s*/\s*", " OR ", expression).replace("MPL-2.0+", "MPL-2.0")


def component(one, package, hashes, is_linked):
    name, version = one
    found = {
        "type": "library",
        "bom-ref": purl(name, version),
        "name": name,
        "version": version,
        "scope": "required" if is_linked else "excluded",
    }
    if package["description"]:
        found["description"] = " ".join(package["description"].split())
    if one in hashes:
        found["hashes"] = [{"alg": "SHA-256", "content": hashes[one]}]
    found["licenses"] = [{"expression": spdx(package["license"])}]
    # What is not from the registry has no address there.
    if package["source"] == REGISTRY:
        found["purl"] = purl(name, version)
    if package["repository"]:
        found["externalReferences"] = [{"type": "vcs", "url": package["repository"]}]
    return found


def document(target):
    metadata = json.loads(cargo("metadata", "--format-version=1", f"--filter-platform={target}"))
    packages = {(one["name"], one["version"]): one for one in metadata["packages"]}
    with open(ROOT / "Cargo.lock", "rb") as file:
        locked = tomllib.load(file)["package"]
    hashes = {(one["name"], one["version"]): one["checksum"] for one in locked if "checksum" in one}

    needs = tree(target, "normal,build")
    linked = set(tree(target, "normal,no-proc-macro"))
    root = next(one for one in needs if one[0] == PACKAGE)
    components = [
        component(one, packages[one], hashes, one in linked) for one in sorted(needs) if one != root
    ]
    subject = component(root, packages[root], hashes, True) | {"type": "application"}
    del subject["scope"]
    dependencies = [
        {"ref": purl(*one), "dependsOn": [purl(*need) for need in sorted(needs[one])]} for one in sorted(needs)
    ]
    about = {
        "component": subject,
        "properties": [{"name": "cargo:target", "value": target}],
    }
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    if epoch:
        time = datetime.datetime.fromtimestamp(int(epoch), datetime.timezone.utc)
        about["timestamp"] = time.strftime("%Y-%m-%dT%H:%M:%SZ")
    # The name of this very list: the same for the same content.
    content = json.dumps([about, components, dependencies], sort_keys=True)
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.5.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, content)}",
        "version": 1,
        "metadata": about,
        "components": components,
        "dependencies": dependencies,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    machine = os.uname().machine
    parser.add_argument("--target", default=f"{machine}-unknown-linux-gnu", help="for which the binary is built")
    parser.add_argument("--output", help="a file; standard output without it")
    options = parser.parse_args()
    text = json.dumps(document(options.target), indent=1) + "\n"
    if options.output:
        pathlib.Path(options.output).write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)


if __name__ == "__main__":
    main()
