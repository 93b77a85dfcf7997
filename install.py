"""Run by the WebUI when it starts. Everything that the extension needs comes with the WebUI: nothing is installed."""
