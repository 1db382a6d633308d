"""What sound effects are called: some have file names that say what is heard, which makes labels of many sources.

A name is what a game's makers thought of, not a judgement by ear: a sword's attack may be a swish or a shout.
"""

from __future__ import annotations

import re
from pathlib import Path

from var_plugin.training.sound_wordings import WORDINGS, Wordings

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
"""Labels, and what the words of a name match; the first that does counts."""

_SAYS_SOMETHING_ELSE = re.compile(
    r"\b(ack|alien|anti|battle|camp|completed|coms|extinguish|factory|hyperspace|menu|notify|ready|reload|select\w*|spaceship|trained"
    r"|training|tutorial|underattack)\b"
)
_TELL_NOTHING = {
    "asterisk-core-sounds-en-wav", "asterisk-moh-opsound-wav", "berusky2-data", "colobot-common-sounds",
    "frozen-bubble-data", "planetblupi-common", "xmoto-data",
}  # fmt: skip
"""Packages whose files are called by what is said, by numbers or in other languages."""

EFFECT_WORDINGS = {
    "explosion": Wordings(
        ("explosion", "an explosion", "a bomb goes off", "a blast", "something explodes", "a detonation"),
        ("a bomb explodes", "a huge blast shakes the street", "it blows up", "an explosive charge"),
    ),
    "scream": Wordings(
        ("scream", "someone screams", "a person screaming", "a woman screams in fear", "a man screaming", "a shriek"),
        ("somebody is screaming", "a terrified scream", "people shriek", "a cry of terror"),
    ),
    "footsteps": Wordings(
        ("footsteps", "someone walking", "steps on the floor", "a person walks by", "walking on gravel",
         "walking through snow"),
        ("somebody walks past", "steps are heard", "footsteps in a hallway", "a walker on the pavement"),
    ),
    "breaking glass": Wordings(
        ("breaking glass", "glass shatters", "a window is smashed", "a bottle breaks", "shattering glass"),
        ("a window pane breaks", "glass being smashed", "someone smashed a bottle", "a shop window is broken"),
    ),
    "thunder": Wordings(
        ("thunder", "a thunderstorm", "a clap of thunder", "lightning strikes", "rolling thunder"),
        ("a storm with thunder", "thunder rumbles", "lightning and thunder", "a distant thunderstorm"),
    ),
    "wind": Wordings(
        ("wind", "the wind blows", "a gale", "wind howling", "gusts of wind", "a storm blowing"),
        ("howling wind", "a windy day", "strong gusts", "wind in the trees"),
    ),
    "birds": Wordings(
        ("birds", "birds singing", "birdsong", "chirping birds", "a bird calls", "birds in the trees"),
        ("twittering birds", "a bird is singing", "the call of a bird", "a songbird"),
    ),
    "horse": Wordings(
        ("horse", "a horse neighs", "hooves", "a neighing horse", "horses galloping"),
        ("a whinnying horse", "a horse trots by", "a galloping horse", "the neigh of a horse"),
    ),
    "sheep": Wordings(
        ("sheep", "a sheep bleats", "a goat", "bleating", "a lamb"),
        ("a bleating goat", "sheep on a meadow", "a flock of sheep", "lambs and goats"),
    ),
    "cow": Wordings(
        ("cow", "a cow moos", "cattle", "mooing", "a herd of cows"),
        ("a mooing cow", "cows on a pasture", "a calf lows", "a bull bellows"),
    ),
    "pig": Wordings(
        ("pig", "a pig grunts", "oinking", "grunting pigs"),
        ("a grunting pig", "pigs in a sty", "a pig squeals", "a sow oinks"),
    ),
    "lion": Wordings(
        ("lion", "a roar", "a lion roars", "a growl", "a wild animal growls", "a bear"),
        ("a roaring lion", "a growling beast", "a tiger", "a big cat roars"),
    ),
    "cat": Wordings(
        ("cat", "a cat meows", "meowing", "a kitten"),
        ("a meowing cat", "the neighbour's cat", "a cat cries", "a tomcat"),
    ),
    "wolf": Wordings(
        ("wolf", "a wolf howls", "a howling wolf", "wolves"),
        ("wolves howling", "the howl of a wolf", "a pack of wolves", "an animal howls at the moon"),
    ),
    "elephant": Wordings(
        ("elephant", "an elephant trumpets", "elephants"),
        ("a trumpeting elephant", "a herd of elephants", "the call of an elephant", "an elephant raises its trunk"),
    ),
    "frog": Wordings(
        ("frog", "a frog croaks", "croaking frogs", "a pond with frogs"),
        ("a croaking frog", "frogs at night", "the croak of a toad", "toads in a pond"),
    ),
    "insects": Wordings(
        ("insects", "crickets chirp", "a bee buzzes", "cicadas", "a buzzing insect"),
        ("chirping crickets", "buzzing bees", "crickets at night", "a swarm of flies"),
    ),
    "door": Wordings(
        ("door", "a door opens", "a door is slammed", "a door closes", "a creaking door", "a gate opens"),
        ("someone slams the door", "a door falls shut", "opening a door", "the gate is closed"),
    ),
    "splash": Wordings(
        ("splash", "something falls into water", "a splash of water", "splashing"),
        ("someone jumps into the water", "splashing water", "a stone drops into a pond", "a person falls into a pool"),
    ),
    "running water": Wordings(
        ("running water", "a river", "a waterfall", "a stream", "a fountain", "water flowing"),
        ("a brook", "flowing water", "rushing water", "a creek in the forest"),
    ),
    "screeching tyres": Wordings(
        ("screeching tyres", "a car skids", "squealing brakes", "a car brakes hard", "skidding wheels"),
        ("tires squeal", "a vehicle skids on the road", "emergency braking", "wheels that slide"),
    ),
    "drum": Wordings(
        ("drum", "drums", "a drum beat", "percussion", "someone plays the drums"),
        ("drumming", "a drummer", "beating a drum", "a drum set"),
    ),
    "crash": Wordings(
        ("crash", "a car crash", "a collision", "something crashes", "a vehicle hits a wall"),
        ("a traffic accident", "a vehicle runs into another", "a loud crash", "metal crumples"),
    ),
    "laser": Wordings(
        ("laser", "a laser gun", "a ray gun", "a futuristic weapon"),
        ("a laser shot", "a space weapon fires", "a beam weapon", "a science fiction gun"),
    ),
    "jet plane": Wordings(
        ("jet plane", "a jet engine", "an airplane", "an aircraft flies over", "a plane takes off"),
        ("a plane overhead", "an aircraft passing", "a jet flies by", "an airliner"),
    ),
    "hammering": Wordings(
        ("hammering", "a hammer", "someone hammers", "an anvil", "hammer blows on metal"),
        ("a hammer hits a nail", "a blacksmith at work", "hammer strokes", "a smith forges iron"),
    ),
    "sawing": Wordings(
        ("sawing", "a saw", "sawing wood", "a sawmill"),
        ("someone saws a board", "a hand saw", "wood is sawn", "a carpenter with a saw"),
    ),
    "chopping wood": Wordings(
        ("chopping wood", "an axe hits wood", "cutting down a tree", "a lumberjack"),
        ("wood being chopped", "an axe in a tree", "felling a tree with an axe", "splitting logs"),
    ),
    "sword": Wordings(
        ("sword", "swords clash", "a sword fight", "clanging metal", "blades hit each other"),
        ("sword fighting", "clashing blades", "metal clanks on metal", "a duel with swords"),
    ),
    "arrow": Wordings(
        ("arrow", "a bow shoots an arrow", "an arrow flies", "archery"),
        ("an archer shoots", "an arrow hits", "a bowstring", "a crossbow"),
    ),
    "rocket": Wordings(
        ("rocket", "a missile", "a rocket is launched", "a missile flies past", "fireworks go up"),
        ("a rocket takes off", "a missile is fired", "the whoosh of a rocket", "a rocket launcher"),
    ),
    "bell": Wordings(
        ("bell", "a bell rings", "a church bell", "ringing bells", "a gong"),
        ("bells ringing", "a bell is struck", "the toll of a bell", "a chiming bell"),
    ),
    "alarm": Wordings(
        ("alarm", "an alarm goes off", "an alarm system", "a burglar alarm"),
        ("the alarm sounds", "a smoke detector", "an alarm bell", "a warning signal"),
    ),
    "beep": Wordings(
        ("beep", "beeping", "an electronic beep", "a tone"),
        ("something beeps", "a beeping device", "a short tone", "an electronic signal"),
    ),
    "click": Wordings(
        ("click", "a switch", "a button is pressed", "clicking"),
        ("someone presses a button", "a light switch", "a clicking noise", "a mouse click"),
    ),
    "laughter": Wordings(
        ("laughter", "someone laughs", "a laugh", "giggling", "people laughing"),
        ("a laughing person", "somebody is laughing", "a man laughs", "a woman giggles"),
    ),
    "groan": Wordings(
        ("groan", "a cry of pain", "someone groans", "a person is hurt", "a man moans in pain"),
        ("somebody cries out in pain", "a groaning man", "the cry of someone who is hurt", "moaning"),
    ),
    "cough": Wordings(
        ("cough", "someone coughs", "gasping", "a person gasps for breath"),
        ("a coughing man", "coughing", "somebody gasps", "short of breath"),
    ),
    "hiss of steam": Wordings(
        ("hiss of steam", "steam", "hissing", "steam escapes", "a hissing valve"),
        ("a hiss", "escaping gas", "air hisses out", "a steam pipe"),
    ),
    "electric sparks": Wordings(
        ("electric sparks", "electricity crackles", "a short circuit", "sparks", "buzzing electricity"),
        ("sparks fly", "an electric arc", "a shock of electricity", "a crackling cable"),
    ),
    "train": Wordings(
        ("train", "a train passes", "a locomotive", "a railway"),
        ("a passing train", "a train at the station", "a steam train", "wagons on rails"),
    ),
    "crowd": Wordings(
        ("crowd", "people cheering", "applause", "an audience claps", "a stadium crowd"),
        ("a roaring audience", "many people shouting", "people clap", "football fans"),
    ),
    "music": Wordings(
        ("music", "a song", "a melody", "music playing", "instruments", "a piece of music"),
        ("someone plays music", "a tune", "musical instruments", "a melody from a speaker"),
    ),
    "machine": Wordings(
        ("machine", "machinery", "a machine at work", "a factory hall", "a generator"),
        ("machines running", "industrial noise", "a running machine", "a mill"),
    ),
}  # fmt: skip
"""By label, of those that no collection has."""

EVERY_WORDING = WORDINGS | EFFECT_WORDINGS
"""By label, of the collections and then of the effects alone."""


def label_of(effect: Path) -> str | None:
    """Return the label that the name of a sound effect tells, in its package's folder; None where it tells none."""
    if effect.parent.name in _TELL_NOTHING:
        return None
    parted = re.sub(r"([a-z])([A-Z0-9])", r"\1 \2", effect.stem)
    words = " ".join(re.findall(r"[a-z]+|\d+", parted.lower()))
    if _SAYS_SOMETHING_ELSE.search(words):
        return None
    return next((label for label, pattern in PATTERNS if re.search(pattern, words)), None)
