"""One change to one file, whose diffs in PR-Agent's layouts are known: made by running PR-Agent."""

from tunebench_jobs.rows import ChangedFile

OLD = """\
import os
import sys


def a():
    x = 1
    y = 2
    z = 3
    w = 4
    return x


def b():
    p = 1
    q = 2
    r = 3
    s = 4
    t = 5
    u = 6
    v = 7
    k = 8
    return p"""
NEW = OLD.replace("    w = 4\n", "    w = 44\n    v = 5\n").replace("    v = 7\n", "")
PATCH = """\
@@ -6,7 +6,8 @@ def a():
     x = 1
     y = 2
     z = 3
-    w = 4
+    w = 44
+    v = 5
     return x
 \n \n@@ -17,6 +18,5 @@ def b():
     s = 4
     t = 5
     u = 6
-    v = 7
     k = 8
     return p"""
NUMBERED_2024 = (
    "\n\n## file: 'src/m.py'\n\n@@ -6,7 +6,8 @@ def a():\n__new hunk__\n6      x = 1\n"
    "7      y = 2\n8      z = 3\n9 +    w = 44\n10 +    v = 5\n11      return x\n12  \n13\n"
    "__old hunk__\n     x = 1\n     y = 2\n     z = 3\n-    w = 4\n     return x\n \n \n\n"
    "@@ -17,6 +18,5 @@ def b():\n__new hunk__\n18      s = 4\n19      t = 5\n20      u = 6\n"
    "21      k = 8\n22      return p\n__old hunk__\n     s = 4\n     t = 5\n     u = 6\n"
    "-    v = 7\n     k = 8\n     return p"
)
EXTENDED_2024 = (
    "\n\n## src/m.py\n\n@@ -5,9 +5,10 @@ def a():\ndef a():\n     x = 1\n     y = 2\n     z = 3\n"
    "-    w = 4\n+    w = 44\n+    v = 5\n     return x\n \n \ndef b():\n"
    "@@ -16,8 +17,7 @@ def b():\n    r = 3\n     s = 4\n     t = 5\n     u = 6\n-    v = 7\n"
    "     k = 8\n     return p\n"
)
# Over the budget: no added context, no trailing hunk that only removes, a quote gone astray.
COMPRESSED_2024 = (
    "\n\n## file: 'src/m.py\n\n@@ -6,7 +6,8 @@ def a():\n     x = 1\n     y = 2\n     z = 3\n"
    "-    w = 4\n+    w = 44\n+    v = 5\n     return x\n'"
)
EXTENDED_PATCH_HEAD = (
    "\n@@ -5,9 +5,10 @@ \n def a():\n     x = 1\n     y = 2\n     z = 3\n-    w = 4\n"
    "+    w = 44\n+    v = 5\n     return x\n \n \n def b():\n\n@@ -13,10 +14,9 @@ \n def b():\n"
    "     p = 1\n     q = 2\n     r = 3\n     s = 4\n     t = 5\n     u = 6\n-    v = 7\n"
    "     k = 8\n     return p"
)
PLAIN_HEAD = (
    "\n\n## File: 'src/m.py'\n\n@@ -5,9 +5,10 @@ \n def a():\n     x = 1\n     y = 2\n     z = 3\n"
    "-    w = 4\n+    w = 44\n+    v = 5\n     return x\n \n \n def b():\n\n\n"
    "@@ -13,10 +14,9 @@ \n def b():\n     p = 1\n     q = 2\n     r = 3\n     s = 4\n     t = 5\n"
    "     u = 6\n-    v = 7\n     k = 8\n     return p\n"
)
NUMBERED_HEAD = (
    "\n\n## File: 'src/m.py'\n\n@@ -5,9 +5,10 @@\n__new hunk__\n5  def a():\n6      x = 1\n"
    "7      y = 2\n8      z = 3\n9 +    w = 44\n10 +    v = 5\n11      return x\n12  \n13  \n"
    "14  def b():\n__old hunk__\n def a():\n     x = 1\n     y = 2\n     z = 3\n-    w = 4\n"
    "     return x\n \n \n def b():\n\n@@ -13,10 +14,9 @@\n__new hunk__\n14  def b():\n"
    "15      p = 1\n16      q = 2\n17      r = 3\n18      s = 4\n19      t = 5\n20      u = 6\n"
    "21      k = 8\n22      return p\n__old hunk__\n def b():\n     p = 1\n     q = 2\n     r = 3\n"
    "     s = 4\n     t = 5\n     u = 6\n-    v = 7\n     k = 8\n     return p"
)


def make_file(patch: str = PATCH, path: str = "src/m.py") -> ChangedFile:
    """Make a modified file of which only the patch is known."""
    return ChangedFile(path=path, patch=patch)


def make_whole_file() -> ChangedFile:
    """Make the file with its whole text."""
    return ChangedFile(path="src/m.py", patch=PATCH, old_text=OLD, new_text=NEW)
