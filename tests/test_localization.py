"""The translators' template holds every text of the accordion."""

from tools.localization_template import OUT, template, texts


def test_template_is_up_to_date() -> None:
    assert OUT.read_text(encoding="utf-8") == template(), "run python -m tools.localization_template"


def test_texts_are_found() -> None:
    source = 'gr.Button("Save"); gr.Slider(0, 1, label="Start", elem_id="x"); gr.Textbox("", info="Hint", label=name)'
    assert texts(source) == ["Save", "Start", "Hint"]
    assert "Low-pass filter" in OUT.read_text(encoding="utf-8")
