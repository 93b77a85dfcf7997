"""The WebUI extension: arguments, the life of a run, the panel, X/Y/Z axes, API routes. Uses gradio and the host."""
