"""Choose our part of Wycheproof: ``python tests/vectors/wycheproof/choose.py CLONE`` from the root, CLONE a clone of C2SP/wycheproof.

Of every file and every set of (group type, result, flags), the first ``most`` tests of our key and nonce sizes, as they are.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

FILES = {  # name: (most of a kind, fields kept)
    "mlkem_768_test": (4, ("seed", "ek", "c", "K")),
    "mlkem_768_encaps_test": (4, ("ek",)),
    "x25519_test": (6, ("public", "private", "shared")),
    "mldsa_65_verify_test": (1, ("publicKey", "ctx", "msg", "sig")),
    "chacha20_poly1305_test": (12, ("key", "iv", "aad", "msg", "ct", "tag")),
    "aes_gcm_test": (12, ("key", "iv", "aad", "msg", "ct", "tag")),
}


def chosen(name: str, source: dict[str, Any]) -> list[dict[str, Any]]:
    most, fields = FILES[name]
    seen: Counter[tuple[str, ...]] = Counter()
    out = []
    for group in source["testGroups"]:
        if "iv" in fields and (group["keySize"], group["ivSize"], group["tagSize"]) != (256, 96, 128):
            continue
        for test in group["tests"]:
            kind = (group["type"], test["result"], *test.get("flags", ()))
            seen[kind] += 1
            if seen[kind] <= most:
                row = {field: {**group, **test}.get(field, "") for field in fields}
                out.append({"tcId": test["tcId"], "result": test["result"], "flags": test.get("flags", []), **row})
    return out


def main() -> None:
    for name in FILES:
        source = json.loads((Path(sys.argv[1]) / "testvectors_v1" / f"{name}.json").read_text())
        rows = ",\n".join(json.dumps(row) for row in chosen(name, source))
        (Path(__file__).parent / f"{name}.json").write_text(f"[\n{rows}\n]\n")


if __name__ == "__main__":
    main()
