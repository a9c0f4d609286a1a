mod track;
mod vision;
