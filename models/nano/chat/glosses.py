"""Short plain meanings of common nouns out of WordNet's glosses: which nouns are common, and which glosses are plain."""

import re
from collections import Counter

from templates import capital, with_article

WORD = re.compile(r"[a-z]+(?:'[a-z]+)?")
DETERMINERS = {"the", "a", "an", "his", "her", "my", "your", "this", "that", "their", "our", "its", "every", "each", "no", "some", "another", "any"}
NOT_NOUNS = {"one", "other", "way", "lot", "kind", "thing", "sort", "while", "deal", "bit", "mine", "whole", "rest", "use", "like", "matter",
             "sake", "it", "self", "said", "little", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "hundred",
             "thousand", "first", "second", "last", "next", "same", "very", "good", "old", "great", "right", "left", "dear", "poor", "white",
             "black", "red", "blue", "green", "small", "young", "big", "own", "long", "more", "most", "least", "less", "many", "few", "half",
             "i", "a", "an", "will", "can", "may", "must", "might", "do", "go", "be", "see", "have", "get", "make", "come", "in", "out", "up",
             "down", "over", "back", "no", "yes", "so", "then", "there", "here", "now", "when", "who", "what", "how", "why", "where", "pretty",
             "evil", "gay", "ass", "breast", "queer", "slave", "bottom", "cock", "bitch", "bastard", "negro", "gypsy", "savage", "heathen"}
UNFIT = re.compile(r"(?i)\b(?:sex\w*|genital\w*|excre\w*|anus|buttocks|slang|vulgar|offensive|derog\w*|homosexual|prostitut\w*|drug\w*|"
                   r"narcotic\w*|semen|penis|vagina|breasts?|nud\w+|urin\w*|feces|rape\w*|suicid\w*|negroe?s?|slaves?)\b")
STARTS = re.compile(r"^(?:a|an|the|any|one of|someone|something|anything|a person|the act)\b")


class Usage:
    """How often words occur in some texts, and how."""

    def __init__(self):
        self.words = Counter()
        self.after_determiner = Counter()
        self.after_article = Counter()
        self.after_the = Counter()

    def add(self, text):
        before = ""
        for word in WORD.findall(text.lower()):
            self.words[word] += 1
            if before in DETERMINERS:
                self.after_determiner[word] += 1
                if before in ("a", "an"):
                    self.after_article[word] += 1
                elif before == "the":
                    self.after_the[word] += 1
            before = word

    def plural(self, noun):
        return self.words[noun + "s"] + self.words[noun + "es"]

    def is_noun(self, word):
        return (word not in NOT_NOUNS and len(word) > 2 and not word.endswith("ing")
                and self.after_determiner[word] >= 0.15 * self.words[word])

    def is_countable(self, noun):
        return self.after_article[noun] >= 0.04 * self.words[noun] or self.plural(noun) >= 0.2 * self.words[noun]

    def is_definite(self, noun):
        return self.after_the[noun] >= 0.35 * self.words[noun]


def clean(gloss):
    """A gloss without remarks in parentheses and without what follows a semicolon."""
    gloss = re.sub(r"\s*\([^)]*\)\s*", " ", gloss).split(";")[0]
    return re.sub(r"\s+", " ", gloss).strip(" .,:")


def plain(gloss, noun, known):
    """Whether a cleaned gloss is short, in common words, and says something else than the noun."""
    words = WORD.findall(gloss.lower())
    if not 3 <= len(words) <= 22 or not STARTS.match(gloss) or UNFIT.search(gloss):
        return False
    if re.search(r"[^a-z ,'\-]", gloss) or gloss.endswith((" of", " to", " for", " in", " or", " and", " by", " with", " a", " the")):
        return False
    stem = noun[: max(4, len(noun) - 2)]
    return all(word in known for word in words) and not any(word.startswith(stem) for word in words)


def noun_senses(record):
    """The glosses of the noun senses of a WordNet record, as they stand there."""
    for line in record["text"].split("\n")[1:]:
        if line.startswith("noun: "):
            yield re.split(r" (?:Also|Example): ", line[6:])[0]


ABSTRACT = re.compile(r"^(?:a|an|the) (?:\w+ )?(?:quality|state|feeling|lack|ability|emotion|sense|power|condition|process|study|science|"
                      r"art|amount|absence|property|activity|liquid|substance|material|metal|gas|drink)\b")


def subject_of(noun, gloss, usage):
    """'a lance', 'the shore' or 'ingratitude': the form in which the noun is asked for and explained."""
    if usage.is_countable(noun):
        return with_article(noun)
    if ABSTRACT.match(gloss):
        return noun
    if gloss.startswith("the "):
        return "the " + noun if usage.is_definite(noun) else None
    return with_article(noun)


def definitions(records, usage, count, taken):
    """[(noun, subject, sentence)] of the commonest nouns that have a plain gloss and are not in `taken`."""
    known = {word for word, _ in usage.words.most_common(15000)}
    ranked = sorted((-(usage.words[r["title"]] + usage.plural(r["title"])), r["title"], r) for r in records
                    if r["title"] not in taken and usage.words[r["title"]] >= 4 and usage.is_noun(r["title"]))
    found = []
    for _, noun, record in ranked:
        # A word that is an adjective too is rarely asked for as a noun; one that only drops its s is a plural.
        if "\nadjective: " in record["text"] or (noun.endswith("s") and usage.words[noun[:-1]] > usage.words[noun]):
            continue
        gloss = clean(next(noun_senses(record), ""))
        subject = subject_of(noun, gloss, usage) if plain(gloss, noun, known) else None
        if subject:
            found.append((noun, subject, f"{capital(subject)} is {gloss}."))
        if len(found) == count:
            break
    return found
