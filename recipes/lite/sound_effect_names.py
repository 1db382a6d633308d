"""Label sound effects by their file names.

A file name gives the intention of a game's authors and was not checked by ear: a sword's attack may be a swish or a
shout.
"""

from __future__ import annotations

import re
from pathlib import Path

from recipes.lite.audio_templates import WORDINGS

PATTERNS = (
    ("music", r"\b(music(?!.* (percussion|drum))|theme|tuba|guitar|piano|flute|song)\b"),
    ("helicopter", r"\b(helicopter|rotor|hh 6[05])\b"),
    ("siren", r"\b(siren|police(car)?|firetruck)\b"),
    ("dog", r"\b(dogs?|bark|wardog)\b(?! fox)"),
    ("rooster", r"\b(rooster|cockerel)\b"),
    ("rain", r"\brain\b"),
    ("sea waves", r"\b(oceanwaves|wavecrash)\b"),
    ("crackling fire", r"\b(campfire|burning|fire loop|flames?|(ambience|open) fire)\b"),
    ("gun shot", r"\b(shotgun(fire)?|pistol|rifle|gunshot|machinegun|minigun|sniper|smg|hmg|musket|gun|uzi)\b"),
    ("car horn", r"carhorn|honk"),
    ("clock tick", r"\bclock\b"),
    ("jackhammer", r"\b(jackhammer|airhammer|pneumatic)\b"),
    ("explosion", r"\b(explo\w*|blast|detonat\w*|bomb)\b"),
    ("scream", "scream"),
    ("footsteps", r"\b(footsteps?|steps?|fs)\b"),
    ("breaking glass", r"\bbreak glass\b|\bglass (break|shatter|smash)"),
    ("thunder", r"\b(thunder|lightning)\b"),
    ("wind", r"\bwind\b(?! mill)"),
    ("birds", r"\b(birds?|birdchirp|owl|seagull|raven|crow)\b"),
    ("horse", r"\bhorse\b"),
    ("sheep", r"\b(sheep|\w*goats?|lamb|ram)\b"),
    ("cow", r"\b(cows?|cattle|bovines|moo)\b"),
    ("pig", r"\b(pigs?|boar)\b"),
    ("lion", r"\b((?<!sea )lion|tiger|roar|growl|bear)\b"),
    ("cat", r"\b(cat|meow|kitten)\b"),
    ("wolf", r"\b(wolf|howl)\b"),
    ("elephant", r"\belephant\b"),
    ("frog", r"\b(frogs?|toad)\b"),
    ("insects", r"\b(crickets?|insects?|cicada|bee|beehive|buzz|grasshopper)\b"),
    ("drum", r"\b(drums?|tabla|snare|percussion|cymbal|kick)\b"),
    ("door", r"\b(doors?|gate)\b"),
    ("splash", r"splash"),
    ("running water", r"\b(river|waterfall|stream|fountain|creek)\b"),
    ("screeching tyres", r"\b(skid\w*|screech|brakes?)\b"),
    ("crash", r"\b(crash\w*|collision|collide)\b"),
    ("laser", r"\b(laser\w*|phaser)\b"),
    ("jet plane", r"\b(jet|airplane|turbojet|plane)\b"),
    ("engine idling", r"\b(engine|diesel|truck|bus|motor)\b(?!.*\b(alien|crank|cut|start|shutdown)\b)"),
    ("hammering", r"\b(hammer\w*|anvil)\b"),
    ("sawing", r"\b(saw|sawing|sawmill|benchsaw)\b"),
    ("chopping wood", r"\b(lumber\w*|chop\w*|woodcut\w*|tree (falling|cutting))\b"),
    ("sword", r"\b(swords?|swordhit|blade|dagger|saber)\b"),
    ("arrow", r"\b(arrow\w*|bow|crossbow)\b"),
    ("rocket", r"\b(rocket\w*|(?<!magic )missile)\b"),
    ("bell", r"\b(bells?|gong)\b"),
    ("alarm", r"\balarm\b"),
    ("beep", r"\b(beeps?|blip)\b"),
    ("click", r"\bclick\w*\b"),
    ("laughter", r"\b(laugh\w*|giggle)\b"),
    ("groan", r"\b(pain|hurt|malehurt|injured|groan|maledeath|(male|female|human)( \w+)* (death|die))\b"),
    ("cough", r"\b(cough|gasp)\b"),
    ("hiss of steam", r"\b(steam|hiss)\b"),
    ("electric sparks", r"\b(sparks?|electric|zap)\b"),
    ("train", r"\b(train|locomotive)\b"),
    ("crowd", r"\b(crowd\w*|cheering\w*|applause)\b"),
    ("machine", r"\b((?<!battle )machine|mill|conveyor|generator|turbine|windmill)\b"),
)
"""Pairs of a label and a pattern for the words of a file name; the first match counts."""

_OTHER_MEANING = re.compile(
    r"\b(ack|alien|anti|battle|camp|completed|coms|extinguish|factory|hyperspace|menu|notify|ready|reload|select\w*|spaceship|trained"
    r"|training|tutorial|underattack)\b"
)
_UNINFORMATIVE_PACKAGES = {
    "asterisk-core-sounds-en-wav", "asterisk-moh-opsound-wav", "berusky2-data", "colobot-common-sounds",
    "frozen-bubble-data", "planetblupi-common", "xmoto-data",
}  # fmt: skip
"""Packages whose file names are speech, numbers or in other languages."""

EFFECT_WORDINGS = {
    "explosion": ("explosion", "an explosion", "a bomb goes off", "a blast", "something explodes", "a detonation"),
    "scream": ("scream", "someone screams", "a person screaming", "a woman screams in fear", "a man screaming",
        "a shriek"),
    "footsteps": ("footsteps", "someone walking", "steps on the floor", "a person walks by", "walking on gravel",
        "walking through snow"),
    "breaking glass": ("breaking glass", "glass shatters", "a window is smashed", "a bottle breaks",
        "shattering glass"),
    "thunder": ("thunder", "a thunderstorm", "a clap of thunder", "lightning strikes", "rolling thunder"),
    "wind": ("wind", "the wind blows", "a gale", "wind howling", "gusts of wind", "a storm blowing"),
    "birds": ("birds", "birds singing", "birdsong", "chirping birds", "a bird calls", "birds in the trees"),
    "horse": ("horse", "a horse neighs", "hooves", "a neighing horse", "horses galloping"),
    "sheep": ("sheep", "a sheep bleats", "a goat", "bleating", "a lamb"),
    "cow": ("cow", "a cow moos", "cattle", "mooing", "a herd of cows"),
    "pig": ("pig", "a pig grunts", "oinking", "grunting pigs"),
    "lion": ("lion", "a roar", "a lion roars", "a growl", "a wild animal growls", "a bear"),
    "cat": ("cat", "a cat meows", "meowing", "a kitten"),
    "wolf": ("wolf", "a wolf howls", "a howling wolf", "wolves"),
    "elephant": ("elephant", "an elephant trumpets", "elephants"),
    "frog": ("frog", "a frog croaks", "croaking frogs", "a pond with frogs"),
    "insects": ("insects", "crickets chirp", "a bee buzzes", "cicadas", "a buzzing insect"),
    "door": ("door", "a door opens", "a door is slammed", "a door closes", "a creaking door", "a gate opens"),
    "splash": ("splash", "something falls into water", "a splash of water", "splashing"),
    "running water": ("running water", "a river", "a waterfall", "a stream", "a fountain", "water flowing"),
    "screeching tyres": ("screeching tyres", "a car skids", "squealing brakes", "a car brakes hard", "skidding wheels"),
    "drum": ("drum", "drums", "a drum beat", "percussion", "someone plays the drums"),
    "crash": ("crash", "a car crash", "a collision", "something crashes", "a vehicle hits a wall"),
    "laser": ("laser", "a laser gun", "a ray gun", "a futuristic weapon"),
    "jet plane": ("jet plane", "a jet engine", "an airplane", "an aircraft flies over", "a plane takes off"),
    "hammering": ("hammering", "a hammer", "someone hammers", "an anvil", "hammer blows on metal"),
    "sawing": ("sawing", "a saw", "sawing wood", "a sawmill"),
    "chopping wood": ("chopping wood", "an axe hits wood", "cutting down a tree", "a lumberjack"),
    "sword": ("sword", "swords clash", "a sword fight", "clanging metal", "blades hit each other"),
    "arrow": ("arrow", "a bow shoots an arrow", "an arrow flies", "archery"),
    "rocket": ("rocket", "a missile", "a rocket is launched", "a missile flies past", "fireworks go up"),
    "bell": ("bell", "a bell rings", "a church bell", "ringing bells", "a gong"),
    "alarm": ("alarm", "an alarm goes off", "an alarm system", "a burglar alarm"),
    "beep": ("beep", "beeping", "an electronic beep", "a tone"),
    "click": ("click", "a switch", "a button is pressed", "clicking"),
    "laughter": ("laughter", "someone laughs", "a laugh", "giggling", "people laughing"),
    "groan": ("groan", "a cry of pain", "someone groans", "a person is hurt", "a man moans in pain"),
    "cough": ("cough", "someone coughs", "gasping", "a person gasps for breath"),
    "hiss of steam": ("hiss of steam", "steam", "hissing", "steam escapes", "a hissing valve"),
    "electric sparks": ("electric sparks", "electricity crackles", "a short circuit", "sparks", "buzzing electricity"),
    "train": ("train", "a train passes", "a locomotive", "a railway"),
    "crowd": ("crowd", "people cheering", "applause", "an audience claps", "a stadium crowd"),
    "music": ("music", "a song", "a melody", "music playing", "instruments", "a piece of music"),
    "machine": ("machine", "machinery", "a machine at work", "a factory hall", "a generator"),
}  # fmt: skip
"""Training wordings by label, of the labels that no collection has."""

TRAINED = {label: wordings.trained for label, wordings in WORDINGS.items()} | EFFECT_WORDINGS
"""Training wordings by label: those of the collections, then those of the effects."""


def label_from_name(effect: Path) -> str | None:
    """Return the label that matches the file name of a sound effect in its package's folder, or None."""
    if effect.parent.name in _UNINFORMATIVE_PACKAGES:
        return None
    separated = re.sub(r"([a-z])([A-Z0-9])", r"\1 \2", effect.stem)
    words = " ".join(re.findall(r"[a-z]+|\d+", separated.lower()))
    if _OTHER_MEANING.search(words):
        return None
    return next((label for label, pattern in PATTERNS if re.search(pattern, words)), None)
