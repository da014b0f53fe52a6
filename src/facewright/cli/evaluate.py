"""`facewright evaluate`: the field's measures, with the protocol named beside every figure."""

import typer

from facewright.cli import (
    evaluate_identification,
    evaluate_leakage,
    evaluate_personalised,
    evaluate_set,
    evaluate_templates,
    evaluate_verification,
)


def register(app: typer.Typer) -> None:
    """Add `evaluate` and its commands."""
    commands = typer.Typer(
        help="Measure an encoder, a set or personalised pictures, with the protocol named beside every figure.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    commands.command("verification")(evaluate_verification.verification)
    commands.command("templates")(evaluate_templates.templates)
    commands.command("identification")(evaluate_identification.identification)
    commands.command("set")(evaluate_set.measure)
    commands.command("leakage")(evaluate_leakage.leakage)
    commands.command("personalised")(evaluate_personalised.personalised)
    app.add_typer(commands, name="evaluate")
