"""What the App is told of classes whose names its database cannot take."""

from __future__ import annotations

from annoloop.app.fiftyone_dataset import class_fields
from annoloop.masks.classes import class_table


def test_a_class_has_a_field_of_its_own_name() -> None:
    assert class_fields(class_table(["background", "disc"])) == {
        "background": "class_dice.background",
        "disc": "class_dice.disc",
    }


def test_names_that_a_database_cannot_take_are_bent_and_stay_apart() -> None:
    names = ["traffic light", "traffic.light", "$", "Straße", "_id"]
    fields = class_fields(class_table(names))
    assert list(fields) == names
    assert len(set(fields.values())) == len(names)
    assert all(
        field.isascii() and field.removeprefix("class_dice.").replace("_", "a").isalnum() for field in fields.values()
    )
    assert fields["_id"] == "class_dice.id"
