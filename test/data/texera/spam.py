# outputs: {Spam result attribute}: boolean, {Score result attribute}: double
# A stand-in for the model of Hugging Face: names with digits or many consonants look like spam.

CONSONANTS = set("bcdfghjklmnpqrstvwxyz")


def process_tuple(tuple_):
    name = (tuple_[properties["attribute"]] or "").split(".")[0].lower()
    score = sum(letter in CONSONANTS for letter in name) / max(len(name), 1)
    return {
        properties["Spam result attribute"]: score > 0.75,
        properties["Score result attribute"]: score,
    }
