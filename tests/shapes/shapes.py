"""Nineteen competitions in the exact layout of their published files, with 60 to 150 tiny pictures each.

A shape writes the raw files and gives the truth of the test lines, which only the grader sees.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import cv2
import numpy as np

from shapes import graders
from shapes.tree import SIZE, Tree, bson, dicom, encoded

Truth = dict[str, Any]
SAMPLE = "sample_submission.csv"


@dataclass(frozen=True)
class Shape:
    """One competition.

    Attributes:
        slug: its name on Kaggle, and the folder below `configs/`.
        write: makes the files and gives id -> truth of each line of the sample.
        rule: how it is graded.
        pass_at: the score that must be reached; far from chance, and from what shuffled answers get.
        smaller_is_better: for errors and losses.
        run: choices that differ from those that all shapes share.
        facts: facts that a small tree needs otherwise, beside `source` and `folds.k`.
        groups: how many groups the training rows have; None: no groups.
        bad: a cell that the grader refuses; None: it takes any text.
    """

    slug: str
    write: Callable[[Tree], Truth]
    rule: graders.Rule
    pass_at: float
    smaller_is_better: bool = False
    run: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    groups: int | None = None
    bad: str | None = "nan"

    def passes(self, score: float) -> bool:
        return score <= self.pass_at if self.smaller_is_better else score >= self.pass_at


GRAPHEME = {"grapheme_root": (9, 72, 100), "vowel_diacritic": (0, 1, 10), "consonant_diacritic": (0, 4)}


def bengali(tree: Tree) -> Truth:
    """Three classes a picture, each told by a third of it; pixels as columns of Parquet tables."""
    truth: Truth = {}
    labels: list[list[Any]] = []
    for part, first, last in (("train", 0, 60), ("train", 60, 120), ("test", 120, 160), ("test", 160, 180)):
        table = {}
        for number in range(first, last):
            picks = [number % 3, number // 3 % 3, number // 9 % 2]
            shares = [pick / (len(kinds) - 1) for pick, kinds in zip(picks, GRAPHEME.values(), strict=True)]
            thirds = np.concatenate([tree.gray(share)[:, : SIZE // 3] for share in shares], axis=1)
            name = f"{part.title()}_{number - (120 if part == 'test' else 0)}"
            table[name] = (cv2.resize(thirds, (236, 137)) * 255).astype(np.uint8).ravel()
            answers = [kinds[pick] for pick, kinds in zip(picks, GRAPHEME.values(), strict=True)]
            if part == "train":
                labels.append([name, *answers, "ক"])
            else:  # the sample goes through the components backwards
                components = zip(reversed(GRAPHEME), reversed(answers), strict=True)
                truth |= {f"{name}_{component}": (component, answer) for component, answer in components}
        tree.parquet(f"{part}_image_data_{int(first in (60, 160))}.parquet", "image_id", table)
    tree.csv("train.csv", "image_id,grapheme_root,vowel_diacritic,consonant_diacritic,grapheme", labels)
    lines = [(name, name.removesuffix(f"_{component}"), component) for name, (component, _) in truth.items()]
    tree.csv("test.csv", "row_id,image_id,component", lines)
    tree.csv(SAMPLE, "row_id,target", [(name, 0) for name in truth])
    return truth


def cactus(tree: Tree) -> Truth:
    rows = {f"{name}.jpg": on for name, on in zip(tree.names(100, 32), tree.deal(100, 2), strict=True)}
    train, test = dict(list(rows.items())[:60]), dict(list(rows.items())[60:])
    for part, ids in (("train", train), ("test", test)):
        for name, on in ids.items():
            tree.picture(f"{part}/{name}", on, 2)
        tree.pack(f"{part}.zip", part)
    tree.csv("train.csv", "id,has_cactus", train.items())
    tree.csv(SAMPLE, "id,has_cactus", [(name, 0.5) for name in test])
    return test


def alaska(tree: Tree) -> Truth:
    methods = ("Cover", "JMiPOD", "JUNIWARD", "UERD")
    for number, method in product(range(1, 26), methods):
        tree.picture(f"{method}/{number:05d}.jpg", int(method != "Cover"), 2)
    test = {f"{number:04d}.jpg": on for number, on in enumerate(tree.deal(40, 2), 1)}
    for name, on in test.items():
        tree.picture(f"Test/{name}", on, 2)
    tree.csv(SAMPLE, "Id,Label", [(name, 0.5) for name in test])
    return test


def aptos(tree: Tree) -> Truth:
    """Ten of the training pictures stand twice, byte for byte, and two of these pairs disagree on the grade."""
    ids = tree.names(130)
    grades = tree.deal(130, 5)
    train, test = dict(zip(ids[:80], grades[:80], strict=True)), dict(zip(ids[80:], grades[80:], strict=True))
    for part, rows in (("train", train), ("test", test)):
        for name, grade in rows.items():
            tree.write(f"{part}_images/{name}.png", encoded((tree.gray(grade / 4) * 255).astype(np.uint8), ".png"))
    for number, (name, again) in enumerate(zip(list(train)[:10], tree.names(10), strict=True)):
        tree.write(f"train_images/{again}.png", (tree.root / f"train_images/{name}.png").read_bytes())
        train[again] = train[name] if number > 1 else (train[name] + 1) % 5
    tree.csv("train.csv", "id_code,diagnosis", train.items())
    tree.csv("test.csv", "id_code", [(name,) for name in test])
    tree.csv(SAMPLE, "id_code,diagnosis", [(name, 0) for name in test])
    return test


def cassava(tree: Tree) -> Truth:
    names = ["Bacterial Blight (CBB)", "Brown Streak Disease (CBSD)", "Green Mottle (CGM)", "Mosaic Disease (CMD)"]
    label_names = {str(i): f"Cassava {name}" for i, name in enumerate(names)} | {"4": "Healthy"}
    tree.json("label_num_to_disease_map.json", label_names)
    rows = [(f"{number}.jpg", on) for number, on in zip(tree.numbers(130, 9), tree.deal(130, 5), strict=True)]
    for part, lines in (("train", rows[:80]), ("test", rows[80:])):
        for name, on in lines:
            tree.picture(f"{part}_images/{name}", on, 5)
    tree.csv("train.csv", "image_id,label", rows[:80])
    tree.csv(SAMPLE, "image_id,label", [(name, 4) for name, _ in rows[80:]])
    return dict(rows[80:])


def cdiscount(tree: Tree) -> Truth:
    categories = [1000010653, 1000004079, 1000018290, 1000012755]
    products = [(int(number), kind) for number, kind in zip(tree.numbers(75, 8), tree.deal(75, 4), strict=True)]

    def document(product: tuple[int, int], *, labelled: bool) -> bytes:
        images = [{"picture": encoded(tree.coloured(product[1], 4))} for _ in range(int(tree.rng.integers(1, 5)))]
        label = {"category_id": categories[product[1]]} if labelled else {}
        return bson({"_id": product[0], **label, "imgs": images})

    train, test = products[:45], products[45:]
    tree.write("train.bson", b"".join(document(product, labelled=True) for product in train))
    tree.write("test.bson", b"".join(document(product, labelled=False) for product in test))
    tree.csv("category_names.csv", "category_id,category_level1", [(kind, "TELEPHONIE - GPS") for kind in categories])
    tree.csv(SAMPLE, "_id,category_id", [(number, categories[0]) for number, _ in test])
    tree.pack("category_names.7z", "category_names.csv")
    tree.pack("sample_submission.7z", SAMPLE)
    return {str(number): categories[kind] for number, kind in test}


def dogs(tree: Tree) -> Truth:
    """120 breeds of two pictures each."""
    breeds = ["affenpinscher", "german_short-haired_pointer", "shih-tzu", *(f"terrier_{n:03d}" for n in range(117))]
    rows = [(name, on) for name, on in zip(tree.names(300, 32), tree.deal(240, 120) + tree.deal(60, 60), strict=True)]
    for part, lines in (("train", rows[:240]), ("test", rows[240:])):
        for name, on in lines:
            tree.picture(f"{part}/{name}.jpg", on, 120)
        tree.pack(f"{part}.zip", part)
    tree.csv("labels.csv", "id,breed", [(name, breeds[on]) for name, on in rows[:240]])
    tree.csv(SAMPLE, ",".join(["id", *breeds]), [(name, *[1 / 120] * 120) for name, _ in rows[240:]])
    tree.pack("labels.csv.zip", "labels.csv")
    tree.pack(f"{SAMPLE}.zip", SAMPLE)
    return {name: breeds[on] for name, on in rows[240:]}


def cats(tree: Tree) -> Truth:
    for number, (kind, on) in product(range(30), (("cat", 0), ("dog", 1))):
        tree.picture(f"train/{kind}.{number}.jpg", on, 2)
    test = {str(number): on for number, on in enumerate(tree.deal(40, 2), 1)}
    for name, on in test.items():
        tree.picture(f"test/{name}.jpg", on, 2)
    tree.pack("train.zip", "train")
    tree.pack("test.zip", "test")
    tree.csv(SAMPLE, "id,label", [(name, 0.5) for name in test])
    return test


def herbarium(tree: Tree) -> Truth:
    """A long tail: some species have one sheet alone."""
    species = [2, 7, 55, 314, 15_000, 64_499]
    train = [(n * 7 + 3, i) for n, i in enumerate([*tree.deal(84, 4), 4, 4, 4, 5])]
    test = list(enumerate(tree.deal(40, 4)))

    def path(part: str, number: int) -> str:
        return f"images/{number // 100:03d}/{number % 100:02d}/{number}.jpg" if part == "train" else (
            f"images/{number // 100:03d}/{number}.jpg"
        )  # fmt: skip

    for part, rows in (("train", train), ("test", test)):
        for number, i in rows:
            tree.picture(f"{part}/{path(part, number)}", i, len(species))
        images = [{"file_name": path(part, n), "height": SIZE, "id": n, "license": 0, "width": SIZE} for n, _ in rows]
        content: dict[str, Any] = {"images": images, "info": {"year": 2021}, "licenses": [{"id": 0, "name": "CC"}]}
        if part == "train":
            content["annotations"] = [
                {"category_id": species[i], "id": n + 100_000, "image_id": n, "institution_id": 1} for n, i in rows
            ]
            content["categories"] = [{"family": "F", "id": s, "name": f"Planta {s}", "order": "O"} for s in species]
            content["institutions"] = [{"id": 1, "name": "NYBG"}]
        tree.json(f"{part}/metadata.json", content)
    tree.csv(SAMPLE, "Id,Predicted", [(number, 1) for number, _ in test])
    return {str(number): species[i] for number, i in test}


def histopathologic(tree: Tree) -> Truth:
    rows = list(zip(tree.names(100, 40), tree.deal(100, 2), strict=True))
    for part, lines in (("train", rows[:60]), ("test", rows[60:])):
        for name, on in lines:
            tree.picture(f"{part}/{name}.tif", on, 2)
    tree.csv("train_labels.csv", "id,label", rows[:60])
    tree.csv(SAMPLE, "id,label", [(name, 0) for name, _ in rows[60:]])
    return dict(rows[60:])


def inaturalist(tree: Tree) -> Truth:
    kinds = [4, 153, 400, 777, 1009]
    first: dict[str, int] = {"train": 0, "val": 265_213, "test": 268_243}
    truth: Truth = {}
    for part, count in (("train", 60), ("val", 20), ("test", 40)):
        images, notes = [], []
        for number, (i, name) in enumerate(zip(tree.deal(count, 5), tree.names(count, 32), strict=True), first[part]):
            file = f"test2019/{name}.jpg" if part == "test" else f"train_val2019/Plants/{kinds[i]}/{name}.jpg"
            tree.picture(file, i, 5)
            images.append({"id": number, "file_name": file, "width": SIZE, "height": SIZE, "license": 0})
            notes.append({"id": number, "image_id": number, "category_id": kinds[i]})
            truth |= {str(number): kinds[i]} if part == "test" else {}
        content: dict[str, Any] = {"info": {"year": 2019}, "images": images, "licenses": []}
        if part != "test":
            content |= {"annotations": notes, "categories": [{"id": kind, "name": str(kind)} for kind in kinds]}
        tree.json(f"{part}2019.json", content)
    tree.pack("train_val2019.tar.gz", "train_val2019")
    tree.pack("test2019.tar.gz", "test2019")
    tree.csv("kaggle_sample_submission.csv", "id,predicted", [(name, 0) for name in truth])
    return truth


def iwildcam(tree: Tree) -> Truth:
    """Twelve cameras for training, and others for testing; most pictures are empty."""
    kinds, count = [0, 96, 115, 372], {"train": 90, "test": 40}
    truth: Truth = {}
    for part, rows in count.items():
        images: list[dict[str, Any]] = []
        notes: list[dict[str, Any]] = []
        for i, digits in zip([*tree.deal(rows - 20, 4), *[0] * 20], tree.names(rows, 20), strict=True):
            name, number = f"{digits[:8]}-21bc-11ea-a13a-{digits[8:]}", len(images)
            tree.picture(f"{part}/{name}.jpg", i, 4)
            place = number % 12 + (0 if part == "train" else 300)
            images.append({"id": name, "file_name": f"{name}.jpg", "location": place, "seq_num_frames": 1})
            notes.append({"id": f"a{name}", "image_id": name, "category_id": kinds[i], "count": 1})
            truth |= {name: kinds[i]} if part == "test" else {}
        content = {"images": images, "categories": [{"id": kind, "name": f"animal {kind}"} for kind in kinds]}
        name = "iwildcam2020_train_annotations" if part == "train" else "iwildcam2020_test_information"
        tree.json(f"{name}.json", content | ({"annotations": notes} if part == "train" else {}))
    tree.json("iwildcam2020_megadetector_results.json", {"images": [], "detection_categories": {"1": "animal"}})
    tree.csv(SAMPLE, "Id,Category", [(name, 0) for name in truth])
    return truth


LEAVES = ("healthy", "multiple_diseases", "rust", "scab")


def plants(tree: Tree) -> Truth:
    """Four classes of unlike size that exclude one another; all pictures lie in one folder."""
    kinds = {part: [i % 4 if i % 8 != 1 else 2 for i in tree.deal(n, 16)] for part, n in (("Train", 80), ("Test", 48))}
    rows = {part: [(f"{part}_{n}", i) for n, i in enumerate(own)] for part, own in kinds.items()}
    for name, i in rows["Train"] + rows["Test"]:
        tree.picture(f"images/{name}.jpg", i, 4)
    header = ",".join(["image_id", *LEAVES])
    tree.csv("train.csv", header, [(name, *[int(i == j) for j in range(4)]) for name, i in rows["Train"]])
    tree.csv("test.csv", "image_id", [(name,) for name, _ in rows["Test"]])
    tree.csv(SAMPLE, header, [(name, *[0.25] * 4) for name, _ in rows["Test"]])
    return {name: {kind: int(i == j) for j, kind in enumerate(LEAVES)} for name, i in rows["Test"]}


DISEASES = ("complex", "frog_eye_leaf_spot", "healthy", "powdery_mildew", "rust", "scab")


def leaves(tree: Tree) -> Truth:
    """Sets of labels; ten training pictures are copies of others, a little brighter."""
    sets = [(0,), (1,), (2,), (3,), (4,), (5,), (5, 1), (4, 1), (4, 0), (2,)]
    rows = list(zip(tree.names(140, 16), tree.deal(140, len(sets)), strict=True))
    for part, lines in (("train", rows[:90]), ("test", rows[90:])):
        for name, i in lines:
            tree.picture(f"{part}_images/{name}.jpg", sets[i], len(DISEASES))

    copies = list(zip(tree.names(10, 16), [i for _, i in rows[:10]], strict=True))
    for (name, _), (copy, _) in zip(rows, copies, strict=False):
        pixels = cv2.imread(str(tree.root / f"train_images/{name}.jpg"))
        brighter = np.clip(np.asarray(pixels, dtype=np.int64) + 3, 0, 255).astype(np.uint8)
        tree.write(f"train_images/{copy}.jpg", encoded(brighter))

    def words(i: int) -> str:
        return " ".join(DISEASES[j] for j in sets[i])

    tree.csv("train.csv", "image,labels", [(f"{name}.jpg", words(i)) for name, i in rows[:90] + copies])
    tree.csv(SAMPLE, "image,labels", [(f"{name}.jpg", "healthy") for name, _ in rows[90:]])
    return {f"{name}.jpg": words(i) for name, i in rows[90:]}


TUBES = [
    *(f"ETT - {kind}" for kind in ("Abnormal", "Borderline", "Normal")),
    *(f"NGT - {kind}" for kind in ("Abnormal", "Borderline", "Incompletely Imaged", "Normal")),
    *(f"CVC - {kind}" for kind in ("Abnormal", "Borderline", "Normal")),
    "Swan Ganz Catheter Present",
]


def ranzcr(tree: Tree) -> Truth:
    """Eleven columns of labels in train.csv, nine in the sample; up to three pictures of a patient."""
    sample, rows = TUBES[:3] + TUBES[5:], []
    for number, first in enumerate(tree.deal(150, 11)):
        on = sorted({first, int(tree.rng.integers(11))})
        uid = f"1.2.826.0.1.3680043.8.498.{tree.numbers(1, 9)[0]}{number}"
        rows.append((uid, [int(j in on) for j in range(11)], f"{number // 3:08x}a"))
        tree.picture(f"{'train' if number < 100 else 'test'}/{uid}.jpg", on, 11)
    tree.csv("train.csv", ",".join(["StudyInstanceUID", *TUBES, "PatientID"]), [(u, *y, p) for u, y, p in rows[:100]])
    tree.csv(SAMPLE, ",".join(["StudyInstanceUID", *sample]), [(uid, *[0] * 9) for uid, _, _ in rows[100:]])
    return {uid: dict(zip(TUBES, y, strict=True)) for uid, y, _ in rows[100:]}


def rsna_breast(tree: Tree) -> Truth:
    """A woman has two breasts of two views each; three in ten have cancer (2 % in the real files). Some machines
    store pictures inverted."""
    own = "site_id,patient_id,image_id,laterality,view,age,implant,machine_id"
    train, test, truth = [], [], {}
    for number, patient in enumerate(tree.numbers(36, 5)):
        ill = tree.rng.random(2) < 0.3
        for (side, cancer), view in product(zip("LR", ill, strict=True), ("CC", "MLO")):
            image = tree.numbers(1, 9)[0]
            part = "train" if number < 22 else "test"
            tree.write(
                f"{part}_images/{patient}/{image}.dcm", dicom(tree.gray(float(cancer)), inverted=number % 2 == 1)
            )
            line = [2, patient, image, side, view, 61, 0, 29]
            if part == "train":
                more = [int(cancer), int(cancer), 0, "", "B", False]
                train.append([*line, *more])
            else:
                test.append([*line, f"{patient}_{side}"])
                truth[f"{patient}_{side}"] = int(cancer)
    labels = "cancer,biopsy,invasive,BIRADS,density,difficult_negative_case"
    tree.csv("train.csv", f"{own},{labels}", train)
    tree.csv("test.csv", f"{own},prediction_id", test)
    tree.csv(SAMPLE, "prediction_id,cancer", [(name, 0.021) for name in truth])
    return truth


def rsna_miccai(tree: Tree) -> Truth:
    """Four series of one or two slices make one patient; ids are zero padded."""
    cases = [f"{number:05d}" for number in [0, 2, 3, *range(5, 32), 109, 123]]
    grades = dict(zip(cases, tree.deal(len(cases), 2), strict=True))
    train = [*cases[:20], "00109", "00123"]
    for case, series in product(cases, ("FLAIR", "T1w", "T1wCE", "T2w")):
        part = "train" if case in train else "test"
        for slice_ in range(1, 2 + int(tree.rng.random() < 0.3)):
            tree.write(f"{part}/{case}/{series}/Image-{slice_}.dcm", dicom(tree.gray(grades[case])))
    tree.csv("train_labels.csv", "BraTS21ID,MGMT_value", [(case, grades[case]) for case in train])
    tree.csv(SAMPLE, "BraTS21ID,MGMT_value", [(case, 0.5) for case in cases if case not in train])
    return {case: grades[case] for case in cases if case not in train}


def siim(tree: Tree) -> Truth:
    """Two columns of train.csv say the answer, and test.csv lacks them; some ages and places are empty."""
    known = "image_name,patient_id,sex,age_approx,anatom_site_general_challenge"
    lines: list[tuple[list[Any], list[Any]]] = []
    for number, on in enumerate(tree.deal(120, 3)):
        name, ill = f"ISIC_{tree.numbers(1, 7)[0]}{number}", int(on == 0)
        tree.picture(f"jpeg/{'train' if number < 75 else 'test'}/{name}.jpg", ill, 2)
        about = [name, f"IP_{number // 3:07d}", "female", "" if on == 1 else 45.0, "torso" if number % 5 else ""]
        lines.append((about, ["melanoma" if ill else "unknown", "malignant" if ill else "benign", ill]))
    train = [about + more for about, more in lines[:75]]
    tree.csv("train.csv", f"{known},diagnosis,benign_malignant,target", train)
    tree.csv("test.csv", known, [about for about, _ in lines[75:]])
    tree.csv(SAMPLE, "image_name,target", [(about[0], 0) for about, _ in lines[75:]])
    return {str(about[0]): more[2] for about, more in lines[75:]}


def statoil(tree: Tree) -> Truth:
    """Two bands of 75 x 75 decibels in JSON; the angle is a number or "na"."""

    def band(share: float) -> list[float]:
        large = cv2.resize(tree.gray(share), (75, 75), interpolation=cv2.INTER_NEAREST)
        return [round(float(value), 4) for value in (large * 60 - 40).ravel()]

    names, on = tree.names(72, 8), tree.deal(72, 2)
    items = [
        {"id": name, "band_1": band(y), "band_2": band(1 - y), "inc_angle": 39.5 if i % 7 else "na"}
        for i, (name, y) in enumerate(zip(names, on, strict=True))
    ]
    tree.json("train.json", [item | {"is_iceberg": y} for item, y in zip(items[:44], on[:44], strict=True)])
    tree.json("test.json", items[44:])
    tree.csv(SAMPLE, "id,is_iceberg", [(name, 0.5) for name in names[44:]])
    for name in ("train.json", "test.json", SAMPLE):
        tree.pack(f"{name}.7z", name)
    return dict(zip(names[44:], on[44:], strict=True))


SHAPES = [
    Shape("aerial-cactus-identification", cactus, graders.auc, 0.9),
    Shape("alaska2-image-steganalysis", alaska, graders.weighted_auc, 0.9, groups=25),
    Shape("aptos2019-blindness-detection", aptos, graders.quadratic_weighted_kappa, 0.4, groups=80, bad="5"),
    Shape(
        "bengaliai-cv19", bengali, graders.weighted_recall, 0.7, bad="11.5",
        run={"augment": {"recipe": "none"}, "train": {"epochs": 12}},
    ),
    Shape("cassava-leaf-disease-classification", cassava, graders.accuracy, 0.6, bad="Healthy"),
    Shape("cdiscount-image-classification-challenge", cdiscount, graders.accuracy, 0.7, groups=45),
    Shape("dog-breed-identification", dogs, graders.log_loss_of_classes, 4.2, smaller_is_better=True, bad="0.9"),
    Shape("dogs-vs-cats-redux-kernels-edition", cats, graders.log_loss, 0.5, smaller_is_better=True, bad="1.1"),
    Shape("herbarium-2021-fgvc8", herbarium, graders.f1_macro, 0.5),
    Shape("histopathologic-cancer-detection", histopathologic, graders.auc, 0.9),
    Shape("inaturalist-2019-fgvc6", inaturalist, graders.error, 0.4, smaller_is_better=True),
    Shape("iwildcam-2020-fgvc7", iwildcam, graders.accuracy, 0.75, groups=12),
    Shape("plant-pathology-2020-fgvc7", plants, graders.mean_column_auc, 0.85),
    Shape("plant-pathology-2021-fgvc8", leaves, graders.f1_of_sets, 0.6, groups=90, bad=None),
    Shape("ranzcr-clip-catheter-line-classification", ranzcr, graders.mean_column_auc, 0.75, groups=34),
    Shape("rsna-breast-cancer-detection", rsna_breast, graders.probabilistic_f1, 0.6, groups=22, bad="1.5"),
    Shape("rsna-miccai-brain-tumor-radiogenomic-classification", rsna_miccai, graders.auc, 0.9, groups=20),
    Shape("siim-isic-melanoma-classification", siim, graders.auc, 0.9, groups=25),
    Shape(
        "statoil-iceberg-classifier-challenge", statoil, graders.log_loss, 0.5, smaller_is_better=True, bad="-0.1",
        run={"data": {"channels": 2}, "train": {"epochs": 16}},
    ),
]  # fmt: skip
