"""The questions of the lessons' quizzes; ungraded, for oneself. The first option is the right one."""

from course_lib.widgets.quiz import Question

PREREQUISITES = (  # lesson 00
    Question(
        "What is torch.zeros(2, 3).sum(dim=1).shape?",
        ("(2,)", "(3,)", "(2, 3)"),
        "dim=1 is the one that disappears.",
    ),
    Question(
        "A has shape (4, 1), B has shape (3,). What is the shape of A + B?",
        ("(4, 3)", "(4, 1)", "an error"),
        "Shapes are lined up on the right; a dimension of 1, or a missing one, is stretched.",
    ),
    Question(
        "x = torch.tensor([5, 7, 9]); what is x[torch.tensor([True, False, True])]?",
        ("[5, 9]", "[7]", "[5, 0, 9]"),
        "A mask of True and False selects.",
    ),
    Question(
        "What is log(a × b)?",
        ("log a + log b", "log a × log b", "a log b"),
        "Products turn into sums.",
    ),
    Question(
        "Three probabilities are 0.5, 0.3 and p, and nothing else can happen. What is p?",
        ("0.2", "0.15", "0.8"),
        "Probabilities of everything that can happen sum to 1.",
    ),
    Question(
        "In def f(x): x = x + 1, what does the caller's tensor x do?",
        ("stays as it was", "grows by 1"),
        "x + 1 is a new tensor. x += 1 would have changed the caller's.",
    ),
)

_FAMILIES = (
    "whole sentences",
    "each word",
    "generating text",
    "extracting an answer",
    "a new text from a text",
)


def _family(text: str, right: int, why: str) -> Question:
    others = _FAMILIES[:right] + _FAMILIES[right + 1 :]
    return Question(text, (_FAMILIES[right], *others), why)


TASK_FAMILIES = (  # lesson 00
    _family(
        "Is this review a complaint?",
        0,
        "One text in, one label out, as you built it above.",
    ),
    _family(
        "Mark every person and place in this report.",
        1,
        "Every token gets its own label.",
    ),
    _family(
        "Which price does this contract name?",
        3,
        "The answer is a span of the given text: where it starts and where it ends.",
    ),
    _family(
        "Shorten these minutes to five sentences.",
        4,
        "A whole text is read first, then another is written.",
    ),
    _family("Finish this limerick.", 2, "One next token after another."),
)

WHO_NEEDS_WHAT = (  # lesson 07
    Question(
        "Which four models does PPO keep at hand when it learns from a judge?",
        (
            "policy, reference, reward model, critic",
            "policy, critic, teacher, student",
            "policy and reward model, twice each",
        ),
        "The reward model belongs to learning from preferences. What PPO itself brings "
        "are the clipped ratio and, as a rule, a critic.",
    ),
    Question(
        "Which of them does GRPO do without?",
        ("the critic", "the reward model", "the policy"),
        "Answers to the same question are each other's baseline. A reward is needed "
        "still: DeepSeekMath, where GRPO comes from, used a learned reward model.",
    ),
    Question(
        "And DPO?",
        ("critic and reward model", "the reference", "the policy"),
        "It learns from pairs directly. Policy and reference remain.",
    ),
    Question(
        "Where did the rewards of DeepSeek-R1-Zero come from?",
        (
            "rules for accuracy and format",
            "a model of human preferences",
            "people who graded each answer",
        ),
        "Its paper says that no neural reward model was used, for fear of hacking. "
        "Only the last stage of R1 adds rewards from preferences.",
    ),
    Question(
        "And those of InstructGPT, the forerunner of ChatGPT?",
        (
            "a model of human preferences",
            "rules for accuracy and format",
            "the likelihood of the next word",
        ),
        "People ranked answers, a reward model learned from the rankings, and PPO "
        "learned from the reward model: the chain of lessons 05 to 07.",
    ),
)
