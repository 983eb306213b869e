"""Signing in with a second factor, and ending sessions, with the mouse and the keyboard."""

from __future__ import annotations

import sqlite3

import pyotp
from playwright.sync_api import Browser, Page, expect

from tests.e2e.conftest import PASSWORD, sign_in
from tests.integration.running import Running

# What the browser itself writes of an answer with which the server asks for consent.
ASKED = "Failed to load resource: the server responded with a status of 428 (PRECONDITION REQUIRED)"


def rows(taskyard: Running, statement: str) -> list[tuple[object, ...]]:
    with sqlite3.connect(taskyard.data_dir / "taskyard.db") as connection:
        return connection.execute(statement).fetchall()


def watch_console(page: Page) -> list[str]:
    messages: list[str] = []
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    return messages


def test_a_session_is_ended_from_another_browser(taskyard: Running, browser: Browser, signed_in: Page) -> None:
    elsewhere = sign_in(taskyard, browser.new_page())
    expect(elsewhere.locator("body")).to_contain_text("Live")
    console = watch_console(signed_in)
    signed_in.goto(taskyard.address + "/settings")
    section = signed_in.get_by_role("region", name="My sessions")
    expect(section.get_by_role("button", name="End session")).to_have_count(2)
    section.get_by_role("row").filter(has_not_text="this browser").get_by_role("button", name="End session").click()
    question = signed_in.get_by_role("alertdialog")
    expect(question).to_contain_text("The browser that uses it is signed out.")
    question.get_by_role("button", name="End session").click()
    expect(section.get_by_role("button", name="End session")).to_have_count(1)
    expect(section).to_contain_text("this browser")
    assert len(rows(taskyard, "SELECT id FROM sessions")) == 1
    elsewhere.goto(taskyard.address + "/jobs")
    expect(elsewhere).to_have_url(taskyard.address + "/sign-in?next=/jobs")
    assert console == [ASKED]


def test_a_second_factor_is_added_used_and_removed(taskyard: Running, browser: Browser, signed_in: Page) -> None:
    console = watch_console(signed_in)
    signed_in.goto(taskyard.address + "/settings")
    section = signed_in.get_by_role("region", name="My second factor")
    section.get_by_label("Current password").fill(PASSWORD)
    section.get_by_role("button", name="Add second factor").click()
    expect(signed_in.get_by_alt_text("QR code")).to_be_visible()
    key = signed_in.locator("code.mono").first.inner_text().replace(" ", "")
    signed_in.get_by_label("Code").fill(pyotp.TOTP(key).now())
    signed_in.keyboard.press("Enter")
    listed = signed_in.locator(".codes code")
    expect(listed).to_have_count(10)
    codes = listed.all_inner_texts()
    expect(section).to_contain_text("10 recovery codes left")

    other = browser.new_page()
    other.goto(taskyard.address + "/sign-in?next=/queues")
    other.get_by_label("Name").fill("admin")
    other.get_by_label("Password").fill(PASSWORD)
    other.keyboard.press("Enter")
    expect(other.get_by_label("Authenticator code")).to_be_focused()
    other.keyboard.type("000000")
    other.keyboard.press("Enter")
    expect(other.get_by_role("alert")).to_contain_text("The code is wrong")
    other.keyboard.type(codes[0])
    other.get_by_role("button", name="Sign in").click()
    expect(other).to_have_url(taskyard.address + "/queues")

    signed_in.goto(taskyard.address + "/settings")
    expect(section).to_contain_text("9 recovery codes left")
    section.get_by_label("Current password").fill(PASSWORD)
    section.get_by_role("button", name="Remove second factor").click()
    expect(section.get_by_role("button", name="Add second factor")).to_be_visible()
    assert rows(taskyard, "SELECT totp_secret, recovery_codes FROM users") == [(None, None)]
    assert console == []


def test_a_user_is_deleted_after_a_question(taskyard: Running, signed_in: Page) -> None:
    signed_in.goto(taskyard.address + "/settings")
    section = signed_in.get_by_role("region", name="Users")
    section.get_by_label("Name of the new user").fill("vera")
    section.get_by_role("button", name="Add user").click()
    row = section.get_by_role("row").filter(has_text="vera")
    expect(row).to_contain_text("one-time password")
    question = signed_in.get_by_role("alertdialog")
    row.get_by_label("Actions for vera").click()
    row.get_by_role("button", name="Delete").click()
    question.get_by_role("button", name="Go back").click()
    expect(row).to_be_visible()
    row.get_by_role("button", name="Delete").click()
    question.get_by_role("button", name="Delete user").click()
    expect(row).to_have_count(0)
    assert rows(taskyard, "SELECT name FROM users") == [("admin",)]
