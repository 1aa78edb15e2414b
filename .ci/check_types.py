"""The share of public names whose types every type checker reads alike, measured by pyright on the installed package.

The package must be installed, not linked as by `pip install --editable`: pyright does not follow such links.

    PATH=build/clean/bin:$PATH python .ci/check_types.py
"""

import json
import subprocess
import sys

GOAL = 0.95

command = [sys.executable, "-m", "pyright", "--verifytypes", "learnkit", "--ignoreexternal", "--outputjson"]
done = subprocess.run(command, capture_output=True, text=True, check=False)  # it fails below 100 %
try:
    found = json.loads(done.stdout)["typeCompleteness"]
except (ValueError, KeyError):
    sys.exit(f"pyright did not answer:\n{done.stdout}{done.stderr}")
score = found["completenessScore"]
print(f"typed names of learnkit: {score:.1%}, by pyright --verifytypes")
if score < GOAL:
    for symbol in found["symbols"]:
        if symbol["isExported"] and (symbol["isTypeAmbiguous"] or not symbol["isTypeKnown"]):
            print(symbol["name"], *(problem["message"] for problem in symbol.get("diagnostics", ())), sep="\n    ")
    sys.exit(f"below {GOAL:.0%}")
