"""The special tokens, and how a chat is written with them.

A model reads one row of tokens, so who is speaking must be a token as well: a
turn begins with `<user>` or `<bot>`, and what the assistant says closes with
`<end>`. The same rule stands here twice: as a function for people, and as a
template in Jinja for other libraries. Left out: system messages and tools.
"""

from collections.abc import Mapping, Sequence

SPECIALS = ("<pad>", "<end>", "<user>", "<bot>")
CHAT_TEMPLATE = (  # Jinja, as transformers reads it; TRL trains on what `generation` holds
    "{% for message in messages %}"
    "{% if message.role != ('user' if loop.index0 % 2 == 0 else 'assistant') %}"
    "{{ raise_exception('a chat alternates user, assistant, user, ...') }}"
    "{% elif message.role == 'user' %}<user>{{ message.content }}"
    "{% else %}<bot>{% generation %}{{ message.content }}<end>{% endgeneration %}"
    "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{% if messages|length % 2 == 0 %}"
    "{{ raise_exception('a reply comes next only after the user has spoken') }}"
    "{% endif %}<bot>{% endif %}"
)


def check_chat(messages: Sequence[Mapping[str, str]], reply_next: bool) -> None:
    """Refuse what is no chat: it begins with the user, and the two take turns."""
    for turn, message in enumerate(messages):
        due = ("user", "assistant")[turn % 2]
        if not isinstance(message, Mapping) or message.get("role") != due:
            raise ValueError(
                f"A chat alternates user, assistant, user, ...: message {turn} must be "
                f'{{"role": "{due}", "content": ...}}, but it is {message!r}.'
            )
        if not isinstance(message.get("content"), str):
            raise ValueError(
                f"Message {turn} needs a text as its content, but it is {message!r}."
            )
    if reply_next and len(messages) % 2 == 0:
        raise ValueError("A reply comes next only after the user has spoken.")


def render_chat(messages: Sequence[Mapping[str, str]], reply_next: bool = False) -> str:
    """A chat as one text, for people to read; models get `Tokenizer.encode_chat`.

    messages: {"role": "user" or "assistant", "content": text}, as in
    transformers; the user begins. `reply_next` ends where the assistant is due.

    >>> render_chat([{"role": "user", "content": "Hello"}], reply_next=True)
    '<user>Hello<bot>'
    """
    check_chat(messages, reply_next)
    forms = {"user": "<user>{}", "assistant": "<bot>{}<end>"}
    parts = [forms[message["role"]].format(message["content"]) for message in messages]
    return "".join(parts) + "<bot>" * reply_next
