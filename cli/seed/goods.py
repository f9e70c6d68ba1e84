"""What a made-up shop sells and who buys there: words and prices that go together."""

from typing import Final, NamedTuple


class Range(NamedTuple):
    """Goods of one category: what they are, what they are made of, and what they cost in cents, from and to."""

    category: str
    prefix: str
    nouns: tuple[str, ...]
    kinds: tuple[str, ...]
    cents: tuple[int, int]
    tax_rate: str


RANGES: Final = (
    Range(
        "kitchen", "KIT", ("kettle", "saucepan", "colander", "whisk", "ladle", "bread knife", "mortar", "casserole"),
        ("Copper", "Enamel", "Cast-iron", "Steel", "Beech"), (590, 12900), "0.19",
    ),
    Range(
        "tea", "TEA", ("Assam", "Darjeeling", "Sencha", "Earl Grey", "Rooibos", "Oolong", "mint infusion"),
        ("Organic", "First-flush", "Loose-leaf", "Smoked", "Everyday"), (390, 2490), "0.07",
    ),
    Range(
        "books", "BOK", ("atlas", "cookbook", "field guide", "notebook of walks", "history of bridges", "songbook"),
        ("Illustrated", "Pocket", "Annotated", "Large-print", "Second"), (890, 5900), "0.07",
    ),
    Range(
        "garden", "GAR", ("trowel", "watering can", "bird table", "seed box", "hand fork", "lantern", "hose reel"),
        ("Galvanised", "Oak", "Terracotta", "Folding", "Stainless"), (690, 8900), "0.19",
    ),
    Range(
        "stationery", "STA", ("fountain pen", "notebook", "ink bottle", "letter opener", "pencil case", "desk pad"),
        ("Brass", "Linen", "Walnut", "Recycled", "Midnight-blue"), (290, 7900), "0.19",
    ),
    Range(
        "toys", "TOY", ("train set", "kite", "spinning top", "puzzle", "marble run", "hand puppet", "yo-yo"),
        ("Wooden", "Tin", "Hand-painted", "Travel", "Giant"), (490, 6900), "0.19",
    ),
)  # fmt: skip

TAGS: Final = ("new", "gift", "handmade", "sale", "fair-trade", "local", "bestseller", "last-of-its-kind")
FIRST_NAMES: Final = (
    *("Ada", "Alan", "Barbara", "Clara", "Dennis", "Edith", "Grace", "Hedy", "Ida", "Jean"),
    *("Katherine", "Linus", "Margaret", "Niklaus", "Otto", "Radia", "Sophie", "Tim", "Ulla", "Wilma"),
)
LAST_NAMES: Final = (
    *("Adler", "Brandt", "Costa", "Dubois", "Ek", "Fischer", "Grimaldi", "Horvat", "Ito", "Jensen"),
    *("Kovacs", "Lindholm", "Moreau", "Novak", "Okafor", "Peeters", "Quinn", "Rossi", "Silva", "Tanaka"),
)
STREETS: Final = ("Harbour Road", "Mill Lane", "Station Street", "Orchard Way", "Bridge Street", "Market Square")
CITIES: Final = (
    ("Hamburg", "DE"),
    ("Vienna", "AT"),
    ("Lyon", "FR"),
    ("Ghent", "BE"),
    ("Bergen", "NO"),
    ("Porto", "PT"),
)
LANGUAGES: Final = ("en", "en", "de", None)
CARRIERS: Final = ("Parcel Post", "Blue Van", "Quick Bike")
REASONS: Final = ("arrived with a dent", "changed my mind", "ordered twice", "the wrong colour")
