"""Tries the extension in a running WebUI by its API, case by case, and prints a Markdown table.

    python -m tools.try_webui --url http://127.0.0.1:7860 --size 1024 --base 512x512 --steps 4

The WebUI must run with --api. Each case makes its pictures plain and with FouriScale from one seed; the table says how
much they differ (mean absolute difference in 1/255) and how many hooks are left on the UNet afterwards (must be 0).
Cases that need more than one checkpoint, a LoRA, a ControlNet or a browser run where the options name them; cases that
raise errors inside the host need the folder tools/try_webui/extension linked into the WebUI's extensions.
"""
