"""Wordings of sound classes, for training and for evaluation only.

`WORDINGS` belong to the labels of the collections, `ALIASES` to names of AudioSet classes that matter in surveillance.
"""

from __future__ import annotations

from dataclasses import dataclass

TEMPLATES = (
    "{}", "the sound of {}", "{} in the background", "a recording of {}", "you can hear {}", "{} outside",
    "there is {}", "{}, loud and close", "{} far away",
)  # fmt: skip
"""Templates that a name or a wording is put into for training."""


@dataclass(frozen=True)
class Wordings:
    """The wordings of one class: for training, and held out for evaluation."""

    trained: tuple[str, ...]
    held_out: tuple[str, ...]


WORDINGS = {
    "dog": Wordings(
        ("dog bark", "a dog barking", "dogs", "a barking dog", "woof", "a puppy yapping",
         "a dog growls and barks",
         "a hound barks at someone", "a guard dog"),
        ("a dog is barking loudly", "angry dogs", "the neighbour's dog won't stop", "woofing"),
    ),
    "rain": Wordings(
        ("rain", "it is raining", "heavy rain", "rainfall", "rain on a roof", "a downpour", "rain pouring down",
         "light rain falls on leaves", "rainy weather", "drops on the window pane", "a wet day",
         "a cloudburst"),
        ("raindrops falling", "a rain shower", "it pours outside", "pattering rain on the window"),
    ),
    "sea waves": Wordings(
        ("sea waves", "waves on the shore", "the ocean", "waves breaking on a beach", "surf", "the sea",
         "waves roll in", "water washing over sand", "the coast", "a beach", "waves and wind at the shore"),
        ("waves crashing on rocks", "the seaside", "ocean surf at the coast", "swell rolling onto the beach"),
    ),
    "crying baby": Wordings(
        ("crying baby", "a baby cries", "an infant crying", "a baby screaming", "a newborn wailing",
         "a small child sobbing", "a toddler crying", "a hungry infant", "a baby that will not calm down"),
        ("a wailing infant", "a baby in tears", "an unhappy newborn", "a baby is crying in the next room"),
    ),
    "clock tick": Wordings(
        ("clock tick", "a clock ticking", "tick tock", "a ticking clock", "the ticking of a watch",
         "a wall clock",
         "a timer ticking", "the second hand of a clock", "an old pendulum clock",
         "a pocket watch", "time passing, tick by tick"),
        ("a clock goes tick tock", "a ticking wristwatch", "a grandfather clock", "seconds ticking away"),
    ),
    "sneeze": Wordings(
        ("sneeze", "a person sneezing", "someone sneezes", "achoo", "a man sneezes", "a woman sneezing",
         "a loud sneeze", "sneezing because of a cold"),
        ("a sneezing person", "somebody has to sneeze", "a sneeze into a handkerchief", "atchoo, bless you"),
    ),
    "helicopter": Wordings(
        ("helicopter", "a helicopter flying", "a chopper overhead", "helicopter rotor blades",
         "a helicopter hovers",
         "a police helicopter", "a helicopter passes by", "the rotor of a helicopter",
         "a military helicopter lands"),
        ("a helicopter circling above", "a chopper in the air", "rotor noise of a rescue helicopter",
         "a hovering helicopter"),
    ),
    "chainsaw": Wordings(
        ("chainsaw", "a chainsaw cutting wood", "a chain saw", "someone saws a tree with a chainsaw",
         "a running chainsaw", "a lumberjack at work with a motor saw", "a chainsaw revs"),
        ("cutting down a tree with a chainsaw", "a motor saw in the forest", "the buzz of a chain saw",
         "a chainsaw starts"),
    ),
    "rooster": Wordings(
        ("rooster", "a rooster crowing", "a cock crows", "cock-a-doodle-doo", "a cockerel", "a crowing rooster",
         "a rooster in the morning", "a cock on a farm"),
        ("the crow of a rooster at dawn", "a cockerel crows on the farm", "a rooster's call", "cock crow"),
    ),
    "crackling fire": Wordings(
        ("crackling fire", "fire", "a campfire", "burning wood", "a fireplace", "flames crackle", "a bonfire",
         "wood crackling in the fire", "something is burning"),
        ("a fire is burning", "flames", "the crackle of a bonfire", "logs burning in the hearth"),
    ),
    "air conditioner": Wordings(
        ("air conditioner", "air conditioning", "an air conditioner humming", "the hum of a ventilation fan",
         "an AC unit running", "a fan blowing air", "a ventilator", "a cooling unit",
         "the hum of a machine on a wall",
         "the compressor of a fridge", "a building's ventilation"),
        ("the whirr of an air conditioner", "an AC on the wall", "humming ventilation",
         "an air conditioning unit"),
    ),
    "car horn": Wordings(
        ("car horn", "a car honking", "a driver honks", "a vehicle horn", "honking", "a horn beeps in traffic",
         "a car beeps", "a taxi blows its horn", "the horn of a truck", "a bus honks",
         "tooting in a traffic jam"),
        ("a car hoots", "someone leans on the horn", "impatient drivers honking their horns", "a honking taxi"),
    ),
    "children playing": Wordings(
        ("children playing", "kids playing", "children shouting in a playground", "a schoolyard",
         "kids yelling",
         "children laughing and talking", "boys and girls at play", "voices of children",
         "pupils in the schoolyard",
         "recess at a primary school", "a kindergarten", "young voices"),
        ("kids having fun outside", "a playground full of children", "children run around and shout",
         "the noise of a school break"),
    ),
    "drilling": Wordings(
        ("drilling", "a drill", "a power drill", "someone drills a hole", "an electric drill",
         "drilling into a wall",
         "a drilling machine", "a hammer drill", "drilling with a machine", "building work with a drill"),
        ("a hole is being drilled", "a worker with a power drill", "the whine of an electric drill",
         "drilling in concrete"),
    ),
    "engine idling": Wordings(
        ("engine idling", "an idling engine", "a car engine running", "a motor idles",
         "a truck with its engine on",
         "a vehicle stands with a running motor", "a diesel engine", "the rumble of an engine",
         "a parked car with its motor on",
         "a bus engine", "a lorry's motor", "a van that does not switch off its engine"),
        ("a car waits with its engine running", "an idling lorry", "a motor ticking over",
         "the engine of a parked bus"),
    ),
    "gun shot": Wordings(
        ("gun shot", "a gunshot", "gunfire", "someone shoots", "a pistol is fired", "shots are fired",
         "a rifle shot",
         "a shooting", "a man fires a gun", "a weapon is discharged", "a revolver"),
        ("a firearm goes off", "somebody is shooting", "a shot rings out", "the bang of a handgun"),
    ),
    "jackhammer": Wordings(
        ("jackhammer", "a jackhammer", "a pneumatic hammer", "road works with a jackhammer",
         "a worker breaks up concrete", "a pneumatic drill on the street", "demolition with a jackhammer",
         "road construction",
         "breaking up stone", "a construction site with heavy hammering"),
        ("a jackhammer pounding the pavement", "breaking asphalt with a jackhammer",
         "workers tearing up the road", "hammering of a pneumatic breaker"),
    ),
    "siren": Wordings(
        ("siren", "a siren", "a police siren", "an ambulance siren", "a fire engine with its siren on",
         "an emergency vehicle", "a wailing siren", "sirens in the city", "an ambulance",
         "a police car in a chase",
         "the fire brigade comes", "a rescue vehicle in a hurry", "an alarm siren"),
        ("an ambulance passing by", "police cars with sirens", "the wail of an emergency siren",
         "a fire truck on its way"),
    ),
    "street music": Wordings(
        ("street music", "music", "a street musician", "a band plays in the street",
         "someone plays an instrument",
         "a busker", "live music outdoors", "people making music", "a song", "a guitar and a singer",
         "an accordion player"),
        ("buskers performing", "a musician playing on the pavement", "a street band",
         "music in a pedestrian zone"),
    ),
}  # fmt: skip
"""The wordings by label."""

ALIASES = {
    "Screaming": ("a scream", "someone screams", "a woman screaming", "a person screams for help", "a shriek"),
    "Shout": ("someone shouts", "a man shouting angrily", "people yelling at each other", "an argument"),
    "Crying, sobbing": ("someone is crying", "a person sobs", "weeping"),
    "Laughter": ("people laughing", "someone laughs", "a laugh"),
    "Speech": ("people talking", "a person speaks", "a voice", "a conversation"),
    "Crowd": ("a crowd of people", "many people at once", "a noisy crowd"),
    "Cheering": ("a cheering crowd", "people cheer"),
    "Applause": ("people clapping", "an audience applauds"),
    "Walk, footsteps": ("footsteps", "someone walking", "steps on the floor"),
    "Run": ("someone running", "running feet"),
    "Explosion": ("an explosion", "a bomb goes off", "a blast", "something explodes", "a detonation"),
    "Machine gun": ("a machine gun", "automatic gunfire", "a burst of shots"),
    "Fireworks": ("fireworks", "firecrackers going off"),
    "Bang": ("a bang", "a loud bang"),
    "Shatter": ("glass breaking", "a window is smashed", "breaking glass", "shattering glass", "a bottle breaks"),
    "Glass": ("glass", "clinking glasses"),
    "Smash, crash": ("a crash", "something crashes down", "a smash", "two cars collide", "a car crash"),
    "Breaking": ("something breaks", "wood breaking", "things being destroyed"),
    "Slap, smack": ("a slap", "someone is slapped", "a punch", "people hitting each other"),
    "Whack, thwack": ("a blow", "someone is hit", "fighting"),
    "Thump, thud": ("a thud", "something heavy falls"),
    "Tire squeal": ("squealing tyres", "a car brakes hard", "screeching tires"),
    "Skidding": ("a car skids", "skidding wheels"),
    "Car alarm": ("a car alarm", "the alarm of a car goes off"),
    "Alarm": ("an alarm", "an alarm goes off", "a burglar alarm"),
    "Smoke detector, smoke alarm": ("a smoke alarm", "a smoke detector beeping"),
    "Fire alarm": ("a fire alarm", "an evacuation alarm"),
    "Slam": ("a door slams", "slamming a door"),
    "Door": ("a door opens", "a door closes"),
    "Knock": ("knocking on a door", "someone knocks"),
    "Motorcycle": ("a motorcycle", "a motorbike drives past"),
    "Car passing by": ("a car drives by", "a passing car"),
    "Traffic noise, roadway noise": ("traffic", "a busy road"),
    "Train": ("a train", "a train passes"),
    "Thunder": ("thunder", "a thunderstorm"),
    "Wind": ("wind", "the wind blows"),
    "Water": ("water", "running water"),
    "Bird": ("birds singing", "a bird chirps"),
    "Cat": ("a cat", "a cat meows"),
    "Silence": ("silence", "nothing can be heard", "a quiet room"),
    "Telephone": ("a telephone rings", "a phone"),
    "Cough": ("someone coughs", "a cough"),
    "Bell": ("a bell rings", "bells"),
}
"""Wordings by name of the AudioSet class, in addition to the name itself."""
