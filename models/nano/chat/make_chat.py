#!/usr/bin/env python3
"""Makes nano's chat data from the files of this folder and from a data set (models/nano/README.md says which).

    make_chat.py --data DATA --out OUT     needs Python 3 and the program zstd
    hadal data prepare OUT --tokenizer T --out PREPARED

Writes OUT/{train,valid}/{talk,definitions,stories,given}.jsonl, a conversation a line with its source and licence, and
prints the counts. The same inputs give the same bytes. No conversation begins with a prompt of ../prompts.txt.
"""

import argparse
import hashlib
import json
import re
import subprocess
from collections import Counter
from pathlib import Path

import glosses
from templates import (HERE, capital, choose_ways, chooser, fill, make_story, read_definitions, read_dialogues, read_lists,
                       read_questions, read_stories, with_article)

OWN = ("written for nano", "CC0-1.0")
WORDNET = ("WordNet 3.x, shortened", "WordNet licence")
VALID_SHARE = 0.02


def read_records(path):
    packed = subprocess.run(["zstd", "-dc", str(path)], check=True, stdout=subprocess.PIPE).stdout
    return [json.loads(line) for line in packed.decode("utf-8").split("\n") if line]


def normal(text):
    return re.sub(r"[^a-z0-9]+", " ", text.lower()).strip()


class Collection:
    """The conversations of one file, without repetitions and without the prompts kept aside."""

    def __init__(self, kept_aside):
        self.kept_aside = kept_aside
        self.seen = set()
        self.records = []

    def add(self, kind, origin, turns, **more):
        if normal(turns[0][1] if turns[0][0] == "user" else turns[1][1]) in self.kept_aside:
            return
        key = json.dumps(turns)
        if key in self.seen:
            return
        self.seen.add(key)
        digest = hashlib.sha256(key.encode()).hexdigest()
        self.records.append({"id": digest[:16], "source": origin[0], "license": origin[1], "kind": kind, **more,
                             "messages": [{"role": role, "content": text} for role, text in turns]})


def as_typed(question, rng):
    """The question as people type it: some without capitals or marks, some after a greeting."""
    way = rng.random()
    if way < 0.45:
        return question
    if way < 0.60:
        return question.lower().rstrip("?.! ")
    if way < 0.70:
        return question.rstrip("?.! ")
    if way < 0.85:
        return rng.choice(["Hello. ", "Hello! ", "Hi! ", "Hi, ", "Hey, ", "Hello nano, "]) + question
    if way < 0.92 and question.endswith("?"):
        return question[:-1] + rng.choice([", please?", ", nano?"])
    return question


def ask(question, answer):
    return [("user", question), ("assistant", answer)]


REPEATS = {"identity": 5, "limits": 4, "smalltalk": 4, "everyday": 4}


def add_questions(talk, questions):
    for kind, wordings, answers in questions:
        for wording in wordings:
            rng = chooser("question", wording)
            for _ in range(REPEATS[kind]):
                is_greeting = kind == "smalltalk" and len(wording.split()) < 4
                typed = rng.choice([wording, wording.lower()]) if is_greeting else as_typed(wording, rng)
                talk.add(kind, OWN, ask(typed, rng.choice(answers)))


def add_dialogues(talk, words, count):
    for number, turns in enumerate(read_dialogues()):
        is_open = any("{" in text for _, text in turns)
        for copy in range(count if is_open else 1):
            rng = chooser("dialogue", number, copy)
            names = words["girls"] + words["boys"]
            gaps = {"name": rng.choice(names), "pet": rng.choice(words["pets"]), "petname": rng.choice(words["petnames"]),
                    "color": rng.choice(words["colors"]), "town": rng.choice(words["towns"]), "food": rng.choice(words["foods"]),
                    "number": rng.choice(words["numbers"]), "toy": rng.choice(words["toys"])}
            gaps["other"] = rng.choice([name for name in names if name != gaps["name"]])
            talk.add("memory" if is_open else "dialogue", OWN, [(role, fill(text, gaps)) for role, text in turns])


def add_conversations(talk, questions, meanings, count):
    """Two to four turns: perhaps a greeting, one or two questions, perhaps thanks."""
    plain = [(wordings, answers) for kind, wordings, answers in questions if kind in ("everyday", "identity", "limits")]
    greetings = [(["Hello", "Hello!", "Hi!", "Hi", "Good morning!", "Hey nano"], ["Hello! How can I help you?", "Hello! What would you like to know?"])]
    thanks = [(["Thank you!", "Thanks", "Thank you very much.", "Good, thank you."], ["You are welcome!", "You are welcome. Is there anything else?", "I am glad that I could help."])]
    for number in range(count):
        rng = chooser("conversation", number)
        turns = []

        def say(wordings, answers):
            turns.extend(ask(as_typed(rng.choice(wordings), rng) if len(turns) else rng.choice(wordings), rng.choice(answers)))

        if rng.random() < 0.5:
            say(*greetings[0])
        for _ in range(rng.choice([1, 2])):
            if rng.random() < 0.5:
                say(*rng.choice(plain))
            else:
                noun, subject, sentence = rng.choice(meanings)
                say(["What is %s?" % subject, "What does %s mean?" % noun, "And what is %s?" % subject if turns else "What is %s?" % subject], [sentence])
        if len(turns) < 4 or rng.random() < 0.4:
            say(*thanks[0])
        talk.add("conversation", OWN, turns)


def add_tables(talk, words):
    pairs = [tuple(pair.split("/")) for pair in words["opposites"]]
    for a, b in pairs + [(b, a) for a, b in pairs]:
        rng = chooser("opposite", a, b)
        for wording in rng.sample(["What is the opposite of %s?", "Tell me the opposite of %s.", "What is the contrary of %s?", "%s - what is the opposite?"], 2):
            talk.add("opposite", OWN, ask(as_typed(capital(wording % a), rng), "The opposite of %s is %s." % (a, b)))
    for one, many in (pair.split("/") for pair in words["plurals"]):
        talk.add("plural", OWN, ask("What is the plural of %s?" % one, "The plural of %s is %s." % (one, many)))
        talk.add("plural", OWN, ask("One %s, two ...?" % one, "One %s, two %s." % (one, many)))
    for word in words["spelling"]:
        letters = "-".join(word.upper())
        talk.add("spelling", OWN, ask("How do you spell %s?" % word, "%s is spelled %s." % (capital(word), letters)))
        talk.add("spelling", OWN, ask("Spell the word %s." % word, letters + "."))
    for parent, child in (pair.split("/") for pair in words["young"]):
        talk.add("young", OWN, ask("What is a young %s called?" % parent, "A young %s is called %s." % (parent, with_article(child))))
        talk.add("young", OWN, ask("What do you call a baby %s?" % parent, "A baby %s is called %s." % (parent, with_article(child))))
    for a in range(0, 13):
        for b in range(0, 13):
            rng = chooser("sum", a, b)
            wording = rng.choice(["What is %d plus %d?", "What is %d + %d?", "%d + %d", "How much is %d and %d?"])
            talk.add("sum", OWN, ask(wording % (a, b), "%d plus %d is %d." % (a, b, a + b)))
            if a >= b:
                wording = rng.choice(["What is %d minus %d?", "What is %d - %d?", "%d - %d = ?"])
                talk.add("sum", OWN, ask(wording % (a, b), "%d minus %d is %d." % (a, b, a - b)))


def meaning_questions(noun, subject, rng, count):
    wordings = ["What is %s?" % subject, "What's %s?" % subject, "what is %s" % subject, "Tell me what %s is." % subject,
                "Can you explain what %s is?" % subject, "Do you know what %s is?" % subject, "Explain the word %s." % noun,
                "What does %s mean?" % noun, "Hello, what is %s?" % subject, "Please tell me what %s is." % subject]
    return wordings[:1] + rng.sample(wordings[1:], count - 1)


def add_definitions(collection, hand, found):
    for noun, subject, sentence in hand:
        for question in meaning_questions(noun, subject, chooser("meaning", noun), 6):
            collection.add("definition", OWN, ask(question, sentence))
    for noun, subject, sentence in found:
        for question in meaning_questions(noun, subject, chooser("meaning", noun), 2):
            collection.add("definition", WORDNET, ask(question, sentence))


def hand_definitions():
    """[(noun, subject, sentence)]: how the noun is asked for follows from how its sentence begins."""
    found = []
    for noun, sentence in read_definitions().items():
        start = next(s for s in (with_article(noun), "the " + noun, noun) if sentence.lower().startswith(s.lower() + " "))
        found.append((noun, start, sentence))
    return found


STORY_WISHES = ["Tell me a story about %s.", "Tell me a short story about %s.", "Can you tell me a story about %s?", "A story about %s, please.",
                "tell me a story about %s", "I want to hear a story about %s.", "Write a little story about %s.", "Please tell me a story about %s."]


def add_stories(collection, words):
    stories, lists = read_stories()
    for hero in ("animals", "people", "things"):
        for subject in words[hero]:
            for copy in range(8 if hero == "animals" else 14 if hero == "people" else 6):
                rng = chooser("story", subject, copy)
                story, name = make_story(hero, subject, stories[hero][copy % len(stories[hero])], lists, words, rng)
                turns = ask(rng.choice(STORY_WISHES) % with_article(subject), story)
                after = rng.random()
                if hero != "things" and after < 0.15:
                    turns += ask("What was the name of the %s?" % subject, "The name of the %s was %s." % (subject, name))
                elif after < 0.25:
                    turns += ask(rng.choice(["Thank you, that was nice!", "That was a good story.", "Thanks!"]), "I am glad that you liked it. Shall I tell you another one?")
                elif after < 0.35:
                    start, _, rest = story.partition("\n\n")
                    turns = ask("Continue this story: " + start, rest)
                collection.add("story", OWN, turns)


def add_short_stories(collection, records, animals):
    """Whole stories of 80 to 200 words; asked for by an animal that is in the title or often in the text, or by title."""
    for record in records:
        text = record["text"]
        if not 80 <= len(text.split()) <= 200 or not is_sound(text):
            continue
        more = {"title": record["title"], "attribution": record.get("author", "")}
        origin = (record["source"], record.get("license", "CC-BY"))
        rng = chooser("short", record["id"])
        collection.add("story", origin, ask('Tell me a story called "%s".' % record["title"].strip(), text), **more)
        counts = Counter(re.findall(r"[a-z]+", text.lower()))
        for subject in [a for a in animals if counts[a] + counts[a + "s"] >= 3][:2]:
            collection.add("story", origin, ask(rng.choice(STORY_WISHES) % with_article(subject), text), **more)


def is_sound(text):
    """No debris of primers: whole sentences from the first line on, no split syllables, no numbered lines."""
    first = text.strip().split("\n")[0]
    return (re.match(r"[\"A-Z]", first) and re.search(r"[.!?:,\"]$", first) and len(first.split()) > 3
            and len(re.findall(r"\b[a-z]+-[a-z]+-[a-z]+\b", text)) < 2 and not re.search(r"(?m)^\d+\.", text))


LIMITS_OF_GIVEN = {"reading": (2500, 230), "role_play": (500, 350), "recipe": (150, 250), "story": (700, 380), "continue": (400, 320),
                   "definition": (900, 60), "fact": (379, 60), "identity": (200, 60), "limits": (200, 60), "memory": (200, 80), "smalltalk": (200, 60)}


def add_given(collection, records):
    kept = Counter()
    for record in sorted(records, key=lambda r: hashlib.sha256(r["id"].encode()).hexdigest()):
        kind, messages = record["kind"], record["messages"]
        most, longest = LIMITS_OF_GIVEN.get(kind, (0, 0))
        size = sum(len(message["content"].split()) for message in messages)
        answer = messages[-1]["content"]
        if kept[kind] >= most or size > longest or "is in archipelago" in answer or "www" in answer:
            continue
        if kind in ("story", "continue") and not is_sound(answer):
            continue
        if kind == "definition" and (answer.startswith("The noun") or glosses.UNFIT.search(answer) or "(" in answer):
            continue
        kept[kind] += 1
        turns = [(message["role"], message["content"]) for message in messages]
        collection.add(kind, (record["source"], record["license"]), turns)


def write(out, name, collection):
    by_split = {"train": [], "valid": []}
    for record in sorted(collection.records, key=lambda r: r["id"]):
        by_split["valid" if int(record["id"][:6], 16) < VALID_SHARE * 16**6 else "train"].append(record)
    for split, records in by_split.items():
        (out / split).mkdir(parents=True, exist_ok=True)
        lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
        (out / split / (name + ".jsonl")).write_text(lines, encoding="utf-8")
    kinds = Counter(record["kind"] for record in collection.records)
    print(f"{name}: {len(collection.records)} conversations:", ", ".join(f"{kind} {n}" for kind, n in sorted(kinds.items())))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with text/ and chat/")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    arguments = parser.parse_args()
    kept_aside = {normal(line) for line in (HERE.parent / "prompts.txt").read_text(encoding="utf-8").split("\n") if line}
    text = arguments.data / "text" / "train"
    words, questions, hand = read_lists("words.txt"), read_questions(), hand_definitions()

    usage = glosses.Usage()
    short_stories = read_records(text / "stories-cc-by.jsonl.zst")
    books = read_records(text / "books-children.jsonl.zst")
    for record in short_stories + read_records(text / "dialogues.jsonl.zst") + books[::4]:
        usage.add(record["text"])
    wordnet = [record for record in read_records(text / "reference.jsonl.zst") if record["source"] == "wordnet"]
    found = glosses.definitions(wordnet, usage, 1500 - len(hand), {noun for noun, _, _ in hand})
    print(f"nouns: {len(hand)} explained by hand, {len(found)} by WordNet")

    talk, definitions, stories, given = (Collection(kept_aside) for _ in range(4))
    add_questions(talk, questions)
    add_dialogues(talk, words, 14)
    add_conversations(talk, questions, hand, 1500)
    add_tables(talk, words)
    add_definitions(definitions, hand, found)
    add_stories(stories, words)
    add_short_stories(stories, short_stories, words["animals"])
    add_given(given, read_records(arguments.data / "chat" / "train.jsonl.zst"))
    for name, collection in (("talk", talk), ("definitions", definitions), ("stories", stories), ("given", given)):
        write(arguments.out, name, collection)


if __name__ == "__main__":
    main()
