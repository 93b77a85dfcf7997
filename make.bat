@echo off
rem What the Makefile is elsewhere, for Windows: "make demo", "make ui" and "make test".
if not exist .venv\Scripts\python.exe py -3 -m venv .venv || exit /b 1
set PIP=.venv\Scripts\python -m pip install --quiet --disable-pip-version-check
if "%TORCH_INDEX%"=="" set TORCH_INDEX=https://download.pytorch.org/whl/cpu
%PIP% --retries 0 --timeout 10 --extra-index-url %TORCH_INDEX% torch==2.13.0 || exit /b 1
%PIP% -r requirements\run.txt || exit /b 1
%PIP% --no-deps --editable . || exit /b 1
if "%1"=="demo" .venv\Scripts\fouriscale demo --out outputs\demo & exit /b
if "%1"=="ui" goto ui
if "%1"=="test" goto test
echo usage: make demo ^| make ui ^| make test
exit /b 2
:ui
%PIP% -r requirements\ui.txt || exit /b 1
.venv\Scripts\fouriscale ui
exit /b
:test
%PIP% -r requirements\dev.txt || exit /b 1
%PIP% --no-deps -r requirements\dev-no-deps.txt || exit /b 1
for %%G in (gradio3 gradio4) do %PIP% --no-warn-conflicts --upgrade --target .venv\%%G -r requirements\%%G.txt || exit /b 1
.venv\Scripts\ruff check . || exit /b 1
.venv\Scripts\ruff format --check . || exit /b 1
.venv\Scripts\mypy || exit /b 1
set PYTHONUTF8=1
.venv\Scripts\lint-imports --no-cache || exit /b 1
.venv\Scripts\python -m pytest --numprocesses logical --maxprocesses 4 --dist loadgroup
