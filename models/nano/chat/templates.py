"""Reads the hand-written files of this folder and fills their gaps. Everything depends on the seed alone."""

import random
import re
from pathlib import Path

HERE = Path(__file__).resolve().parent


def chooser(*key):
    """A generator of random numbers of its own for each key, so that an added line changes no other."""
    return random.Random("/".join(str(part) for part in key))


def lines_of(name):
    """Lines of a file without comments; the blank ones separate blocks."""
    text = (HERE / name).read_text(encoding="utf-8")
    return [line.rstrip() for line in text.split("\n") if not line.startswith("#")]


def blocks_of(lines):
    """Runs of lines that are not blank."""
    block = []
    for line in lines + [""]:
        if line:
            block.append(line)
        elif block:
            yield block
            block = []


def read_lists(name):
    """{list: [entries]} of a file with [list] lines."""
    lists, current = {}, None
    for line in lines_of(name):
        if line.startswith("["):
            current = lists.setdefault(line.strip("[]"), [])
        elif line:
            current.extend(entry.strip() for entry in line.split(",") if entry.strip())
    return lists


def read_questions():
    """[(kind, [wordings], [answers])] of questions.txt."""
    found, kind = [], None
    for block in blocks_of(lines_of("questions.txt")):
        if block[0].startswith("[") and len(block) >= 1:
            kind = block[0].strip("[]")
            block = block[1:]
        if not block:
            continue
        wordings = [wording.strip() for line in block if not line.startswith(">") for wording in line.split(" | ")]
        answers = [line[1:].strip() for line in block if line.startswith(">")]
        if not wordings or not answers:
            raise ValueError(f"questions.txt: a block without question or answer: {block[0]}")
        found.append((kind, wordings, answers))
    return found


def read_dialogues():
    """[[(role, text)]] of dialogues.txt."""
    found = []
    for block in blocks_of(lines_of("dialogues.txt")):
        turns = []
        for number, line in enumerate(block):
            mark, text = line[:2], line[2:].strip()
            if mark != ("U:" if number % 2 == 0 else "A:"):
                raise ValueError(f"dialogues.txt: turns do not alternate: {line}")
            turns.append(("user" if mark == "U:" else "assistant", text))
        if len(turns) % 2:
            raise ValueError(f"dialogues.txt: a conversation ends with a question: {block[0]}")
        found.append(turns)
    return found


def read_definitions():
    """{word: sentences} of definitions.txt."""
    return dict(line.split(": ", 1) for line in lines_of("definitions.txt") if line)


def read_stories():
    """({hero: [story]}, {list: [entries]}): stories as lists of paragraphs."""
    stories, lists, section = {}, {}, None
    for block in blocks_of(lines_of("stories.txt")):
        if block[0].startswith("[") and re.fullmatch(r"\[\w+\]", block[0]):
            section = block[0].strip("[]")
            block = block[1:]
            if section in ("places", "finds"):
                lists[section] = [entry.strip() for entry in ",".join(block).split(",")]
                continue
        stories.setdefault(section, []).append(block)
    return stories, lists


VOWEL_SOUND = re.compile(r"(?i)^(?:[aeio]|u(?!ni|se|su|ti)|hour|honest|honou?r|heir)")
NO_VOWEL_SOUND = re.compile(r"(?i)^(?:one|once|eu|ew)")


def with_article(noun):
    """'an owl', 'a unicorn', 'an hour'."""
    vowel = VOWEL_SOUND.match(noun) and not NO_VOWEL_SOUND.match(noun)
    return ("an " if vowel else "a ") + noun


def capital(text):
    return text[:1].upper() + text[1:]


def fill(text, words):
    """Replaces {word}; {Word} is its capitalised form unless it is a word of its own."""
    def put(match):
        key = match.group(1)
        if key in words:
            return words[key]
        return capital(words[key[:1].lower() + key[1:]])
    return re.sub(r"\{([^}]+)\}", put, text)


def choose_ways(text, rng):
    """[one|two] becomes one of them."""
    return re.sub(r"\[([^\[\]]+)\]", lambda match: rng.choice(match.group(1).split("|")), text)


def pronouns(is_girl):
    return {"he": "she", "him": "her", "his": "her"} if is_girl else {"he": "he", "him": "him", "his": "his"}


# They do not knock at doors, cook or run.
NO_GUESTS = {"whale", "crocodile", "ant", "bee", "butterfly", "spider", "snail", "tiger"}


def make_story(hero, subject, story, lists, words, rng):
    """(text, name): a template of stories.txt with its gaps filled."""
    is_girl = rng.random() < 0.5
    if hero == "people":
        is_girl = subject in ("queen", "princess", "girl", "witch", "old woman", "fairy")
    friends = [animal for animal in words["animals"] if animal != subject and animal not in NO_GUESTS]
    friend = rng.choice(friends)
    name = rng.choice(words["girls" if is_girl else "boys"])
    other = rng.choice(words["girls" if "girl called {F}" in " ".join(story) else "boys"])
    gaps = {
        "subject": subject, "a subject": with_article(subject), "Name": name, "F": other,
        "friend": friend, "a friend": with_article(friend),
        "place": rng.choice(lists["places"]), "thing": rng.choice(lists["finds"]), **pronouns(is_girl),
    }
    paragraphs = [fill(choose_ways(paragraph, rng), gaps) for paragraph in story]
    text = "\n\n".join(paragraphs)
    # "[A|One] {subject}" and the like may have chosen the wrong article.
    text = re.sub(r"\b([Aa])n? (%s)\b" % re.escape(subject), lambda m: (m.group(1) + with_article(subject)[1:]), text)
    return text, name
