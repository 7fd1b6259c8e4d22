#!/usr/bin/env python3
"""Writes src/text/unicode_classes.inc: the code point ranges of the classes that the pre-tokenizer distinguishes.

Source: the general categories of Python's unicodedata (Unicode 14, Python 3.11) plus src/text/unicode_additions.h
(Unicode 16). The test pre_tokenizer_test compares every code point with PCRE2.

Usage: tools/generate_unicode_classes.py
"""
import pathlib
import re
import unicodedata

ROOT = pathlib.Path(__file__).resolve().parent.parent
ADDITIONS = {"Letter": "L", "Mark": "M", "Number": "N", "Punctuation": "P", "Symbol": "S"}
CLASSES = {"L": "kLetterOrMark", "M": "kLetterOrMark", "N": "kNumber", "P": "kPunctuationOrSymbol", "S": "kPunctuationOrSymbol"}


def main():
    assert unicodedata.unidata_version == "14.0.0", "needs Python 3.11, whose unicodedata is Unicode 14"
    major = [unicodedata.category(chr(c))[0] for c in range(0x110000)]
    header = (ROOT / "src/text/unicode_additions.h").read_text()
    for name, ranges in re.findall(r"k(\w+)Additions\[\] = \{(.*?)\};", header, re.DOTALL):
        for first, last in re.findall(r"\{0x([0-9A-F]+), 0x([0-9A-F]+)\}", ranges):
            for code_point in range(int(first, 16), int(last, 16) + 1):
                assert major[code_point] in ("C", ADDITIONS[name]), hex(code_point)
                major[code_point] = ADDITIONS[name]
    classes = [CLASSES.get(category) for category in major]
    entries = []
    start = 0
    for code_point in range(1, len(classes) + 1):
        if code_point == len(classes) or classes[code_point] != classes[start]:
            if classes[start]:
                entries.append((start, code_point - 1, classes[start]))
            start = code_point
    short = {"kLetterOrMark": "L", "kNumber": "N", "kPunctuationOrSymbol": "P"}
    words = ["{0x%04X, 0x%04X, %s}," % (first, last, short[name]) for first, last, name in entries]
    lines = ["// Written by tools/generate_unicode_classes.py; do not edit. first, last, class."]
    line = ""
    for word in words:
        if len(line) + len(word) + 1 > 118:
            lines.append(line)
            line = ""
        line = word if not line else line + " " + word
    lines.append(line)
    (ROOT / "src/text/unicode_classes.inc").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
