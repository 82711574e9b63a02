"""Python's own tests, as Debian packages them; one line for each module.

usage: python_tests.py MODULE...

Which tests there are and how long they take is Python's to say; that all of a module pass is the
result.
"""

import subprocess
import sys

for module in sys.argv[1:]:
    done = subprocess.run([sys.executable, "-B", "-m", "test", "-u", "none", module],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    words = "passed" if done.returncode == 0 else f"ended with {done.returncode}"
    print(module, words, flush=True)
    if done.returncode != 0:
        sys.stderr.write(done.stdout[-3000:])
