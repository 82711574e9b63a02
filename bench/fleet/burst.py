"""A burst of python3: records of a document, turned into JSON and back."""

import json
import sys

for line in sys.stdin:
    records = [{"id": number, "name": f"name {number}", "tags": ["a" * (number % 40), number],
                "text": "x" * (number % 200)} for number in range(36000)]
    text = json.dumps(records)
    again = json.loads(text)
    if sum(record["id"] for record in again) != 36000 * 35999 // 2:
        sys.exit("the sums differ")
    del records, text, again
    print("done", flush=True)
