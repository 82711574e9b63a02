"""A burst of python3: records of a document, turned into JSON and back."""

import json
import sys

COUNT = 72000

for line in sys.stdin:
    records = [{"id": number, "name": f"name {number}", "tags": ["a" * (number % 40), number],
                "text": "x" * (number % 200)} for number in range(COUNT)]
    text = json.dumps(records)
    again = json.loads(text)
    if sum(record["id"] for record in again) != COUNT * (COUNT - 1) // 2:
        sys.exit("the sums differ")
    del records, text, again
    print("done", flush=True)
