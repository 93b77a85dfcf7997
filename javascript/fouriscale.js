/* Refreshes the accordion's headline and the names of the presets: when the page has loaded, when the checkpoint
   changes, as gradio cannot listen across the settings bar, and when the tab does: a preset may have been saved in the
   other one. */
(function () {
    "use strict";

    function refresh() {
        ["txt2img", "img2img"].forEach(function (tab) {
            const button = gradioApp().querySelector("#" + tab + "_fouriscale_refresh");
            if (button) button.click();
        });
    }

    let checkpoint = null;
    onUiLoaded(function () {
        refresh();
        if (typeof onUiTabChange === "function") onUiTabChange(refresh);
        onOptionsChanged(function () {
            const now = opts.sd_checkpoint_hash || opts.sd_model_checkpoint;
            if (now !== checkpoint) {
                checkpoint = now;
                refresh();
            }
        });
    });
})();
