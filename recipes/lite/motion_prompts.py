"""Sentences about motion, for training and held out for evaluation."""

from __future__ import annotations

from recipes.lite.audio_templates import Wordings

MOTION_WORDINGS = {
    "fight": Wordings(
        ("people fighting", "a fight", "two men fighting in the street", "a brawl", "a fist fight",
         "they hit each other",
         "a man punches another man", "someone is kicked on the ground", "a violent attack", "people beating a man",
         "a group of men attacks someone", "an assault", "two persons wrestle violently", "a scuffle breaks out",
         "someone is knocked down", "street violence", "a man strikes a woman", "men exchange blows",
         "a mob beats up a man", "a violent quarrel with punches", "youths fight each other", "a physical altercation"),
        ("a brawl between several men", "fighting", "someone gets beaten up", "a punch-up outside a bar",
         "violence between people", "a person is being attacked"),
    ),
    "calm": Wordings(
        ("people walking", "pedestrians pass by", "a person walks along the street", "people stand and talk",
         "someone enters a shop", "a quiet day in the street", "customers in a store", "a man waits at the counter",
         "people cross the road", "a person sits down", "somebody opens a door", "everyday life in front of a camera",
         "a woman walks with a bag", "passers-by on the pavement"),
        ("people strolling", "a man walks through a hall", "two people talk to each other", "ordinary street life"),
    ),
    "still": Wordings(
        ("nothing moves", "a still scene", "an empty place", "nothing happens", "nobody is there", "a static picture",
         "an empty corridor at night", "a deserted car park"),
        ("no movement at all", "an empty room", "a motionless view"),
    ),
    "camera": Wordings(
        ("the camera moves", "the camera pans", "the camera zooms in", "a shaking camera",
         "the camera turns to the left",
         "a hand-held camera", "a moving view", "the whole picture shakes"),
        ("camera shake", "a panning shot", "the view turns"),
    ),
    "cut": Wordings(
        ("a cut", "the scene changes", "the film jumps to another scene", "another camera is shown",
         "the picture changes suddenly", "a change of shot"),
        ("a scene change", "the video switches to another view"),
    ),
}  # fmt: skip
"""The wordings by kind of motion. "calm" is ordinary motion of people."""

NOT_FIGHTS = (
    "two people hugging", "people dancing", "a couple dances", "a hug between friends", "children play in the park",
    "a football match", "boys playing soccer", "a basketball game", "people running a race", "a man jumps in the air",
    "friends embrace", "people shake hands", "a dancer on a stage", "a tennis player hits the ball", "a crowd cheers",
    "a dog plays with a ball", "a man rides a bicycle", "a child on a swing", "a wedding party", "someone skateboards",
    "a kiss", "people laughing together", "a handshake", "a volleyball game", "people in a swimming pool",
    "a car accident", "two cars collide", "an explosion", "a fire", "a man with a gun", "a thief steals a bag",
)  # fmt: skip
"""Sentences about lively or serious scenes without fights, whose motion part is trained to be zero."""
